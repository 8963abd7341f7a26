#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "app/config.hpp"
#include "control/value.hpp"
#include "shim_hv/dp/device.hpp"
#include "tgen/core/spec.hpp"
#include "tgen/dp/tgen_stage.hpp"

namespace sluice::app {

// The control half of tgen, and the user of all flows of this process: servers are registered
// names that accept every flow, clients are runs that an operator starts. Flows that only an
// operator looks at (allocate flow) are held here too.
class TgenApp : public shim_hv::FlowUsers {
  public:
    TgenApp(dp::Runtime& runtime, tgen::TgenStage& stage);
    ~TgenApp() override;

    // In the order of the stage's outlets.
    void add_device(shim_hv::Device& device);

    Result<> register_server(const std::string& name, const std::string& dif,
                             const std::string& out_dir, std::uint64_t out_bytes_max);
    Result<> unregister_server(const std::string& name, const std::string& dif);
    // The run's number. It begins when the flow is allocated; if that fails the run has failed.
    Result<std::uint32_t> start_run(const std::string& dif, const std::string& source,
                                    const std::string& destination,
                                    const std::vector<std::string>& words);
    // A flow without traffic.
    Result<std::uint32_t> allocate(const std::string& dif, const std::string& source,
                                   const std::string& destination);
    Result<> stop_run(std::uint32_t id);
    Result<> deallocate(std::uint32_t id);
    Result<> set_reading(std::optional<std::uint32_t> id, bool on);

    void on_punt(const dp::PuntItem& item);

    control::Value show_runs(std::optional<std::uint32_t> id) const;
    control::Value show_flows() const;
    control::Value show_apps() const;
    std::vector<std::string> run_ids() const;
    std::size_t open_flows() const noexcept;

    void on_flow_requested(shim_hv::Device& device, const shim_hv::FlowRequested& event) override;
    void on_flow_bound(shim_hv::Device& device, const shim_hv::FlowBound& event) override;
    void on_flow_allocated(shim_hv::Device& device, const shim_hv::FlowAllocated& event) override;
    void on_flow_failed(shim_hv::Device& device, const shim_hv::FlowFailed& event) override;
    void on_flow_deallocated(shim_hv::Device& device,
                             const shim_hv::FlowDeallocated& event) override;

  private:
    enum class Kind : std::uint8_t { client, server, idle };
    enum class State : std::uint8_t { allocating, open, closed, failed };

    // A run or an accepted flow. Stays for show after its end, until there are too many.
    struct Run {
        std::uint32_t id = 0;
        Kind kind = Kind::client;
        State state = State::allocating;
        shim_hv::Device* device = nullptr;
        shim_hv::FlowHandle handle{};
        std::string source, destination, ended;
        std::uint32_t channel = 0;
        std::unique_ptr<tgen::TgenFlow> flow;  // until detached, then only `last`
        bool attached = false;
        tgen::Progress last{};
        void* input = nullptr;  // mapped file of a client
        std::size_t input_size = 0;
        void* output = nullptr;  // mapped file of a server
        std::size_t output_size = 0;
        int output_fd = -1;
        std::string out_file;
    };
    struct Server {
        std::string name, dif, out_dir;
        std::uint64_t out_bytes_max = 0;
    };

    shim_hv::Device* device(const std::string& dif) const;
    Result<shim_hv::Device*> need_device(const std::string& dif) const;
    unsigned outlet_of(const shim_hv::Device& device) const;
    Result<std::uint32_t> free_slot() const;
    Run* by_slot(std::uint32_t slot);
    Run* by_handle(const shim_hv::Device& device, shim_hv::FlowHandle handle);
    Run* by_flow(const tgen::TgenFlow* flow);
    Result<Run*> need_run(std::uint32_t id);
    Result<std::uint32_t> open(const std::string& dif, const std::string& source,
                               const std::string& destination,
                               std::unique_ptr<tgen::TgenFlow> flow, Kind kind, void* input,
                               std::size_t input_size);
    void post(tgen::TgenMail type, tgen::TgenFlow& flow, std::uint32_t arg = 0,
              std::uint64_t a = 0, std::uint64_t b = 0);
    void detach(Run& run);
    void finish(Run& run, State state, std::string_view why);
    void open_output(Run& run, std::uint64_t announced);
    void close_files(Run& run);
    void forget_old();
    const Server* server_of(const std::string& name, const std::string& dif) const;
    control::Value show(const Run& run) const;

    dp::Runtime& runtime_;
    tgen::TgenStage& stage_;
    std::vector<shim_hv::Device*> devices_;
    std::vector<Server> servers_;
    std::map<std::uint32_t, Run> runs_;
    std::uint32_t next_id_ = 1;
    tgen::ClockId clock_;
};

}  // namespace sluice::app
