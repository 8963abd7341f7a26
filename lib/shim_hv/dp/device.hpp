#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "dataplane/flow_gate.hpp"
#include "dataplane/runtime.hpp"
#include "shim_hv/core/shim_hv.hpp"
#include "shim_hv/dp/vmpi_impl.hpp"
#include "shim_hv/dp/vmpi_stage.hpp"

namespace sluice::shim_hv {

// A flow's data path has been set up in the device: what its user needs to send and receive. Comes
// before FlowAllocated, and before the peer may send.
struct FlowBound {
    FlowHandle flow{};
    std::uint32_t cookie = 0;
    std::uint32_t channel = 0;
    std::uint32_t max_sdu = 0;
    dp::FlowGate* gate = nullptr;  // until the user has called Device::released()
};

// The users of a device, told in order. Control thread.
class FlowUsers {
  public:
    virtual ~FlowUsers() = default;
    virtual void on_flow_requested(class Device& device, const FlowRequested& event) = 0;
    virtual void on_flow_bound(Device& device, const FlowBound& event) = 0;
    virtual void on_flow_allocated(Device& device, const FlowAllocated& event) = 0;
    virtual void on_flow_failed(Device& device, const FlowFailed& event) = 0;
    virtual void on_flow_deallocated(Device& device, const FlowDeallocated& event) = 0;
};

// One VMPI device: the control half (ShimHv) on the control thread, which looks after the other
// half (VmpiStage) on its lcore.
class Device {
  public:
    struct Options {
        std::string name;
        Params params;
        rte_mempool* pool = nullptr;
    };
    Device(const Options& options, dp::Runtime& runtime, VmpiLowLevel& low_level,
           VmpiStage& stage, FlowUsers& users);
    ~Device();

    const std::string& name() const noexcept { return options_.name; }

    // To be called when the link may have changed, when next_deadline() has passed, and now and
    // then in any case.
    void poll(Instant now);
    Instant next_deadline() const noexcept;
    // A control message that the stage punted; the packet is freed.
    void on_punt(Instant now, const dp::PuntItem& item);

    Result<> register_app(const rina::AppName& name);
    Result<> unregister_app(Instant now, const rina::AppName& name);
    Result<FlowHandle> allocate(Instant now, const rina::AppName& source,
                                const rina::AppName& destination, std::uint32_t cookie);
    Result<> accept(Instant now, FlowHandle flow, std::uint32_t cookie);
    Result<> refuse(Instant now, FlowHandle flow, rina::Reason reason);
    Result<> deallocate(Instant now, FlowHandle flow);
    // The user's stage no longer touches the gate.
    void released(dp::FlowGate* gate);

    DeviceInfo info() const { return shim_.info(); }
    const ShimHv& shim() const noexcept { return shim_; }
    VmpiStage& stage() noexcept { return stage_; }
    const VmpiLowLevel& low_level() const noexcept { return low_level_; }
    // Flows' gates that wait for both sides to let go; 0 when nothing leaks.
    std::size_t gates() const noexcept { return gates_.size(); }

  private:
    struct Gate {
        std::unique_ptr<dp::FlowGate> gate;
        std::uint64_t unbound_at = 0;  // ack that frees it; 0: still bound
        bool released = false;
    };

    void carry_out(Outbox& out);
    void perform(const SetEpochs& action);
    void perform(const Bind& action);
    void perform(const Grant& action);
    void perform(const Unbind& action);
    void perform(const SendControl& action);
    void post(dp::Mail mail);
    void flush_mails();
    void reap();

    const Options options_;
    dp::Runtime& runtime_;
    VmpiLowLevel& low_level_;
    VmpiStage& stage_;
    FlowUsers& users_;
    ShimHv shim_;
    std::uint64_t link_changes_ = 0;
    bool link_up_ = false;
    bool carrying_out_ = false;
    std::deque<Outbox> waiting_;       // what came up while actions were being carried out
    std::deque<dp::Mail> unsent_;      // the mailbox was full
    std::uint64_t posted_ = 0;         // mails given to post()
    std::deque<std::pair<std::uint64_t, std::unique_ptr<SetEpochs>>> epochs_;
    std::map<dp::FlowGate*, Gate> gates_;
    std::map<std::uint32_t, dp::FlowGate*> gate_of_channel_;
};

}  // namespace sluice::shim_hv
