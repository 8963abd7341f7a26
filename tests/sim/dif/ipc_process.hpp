#pragma once

#include "normal_dif/core/efcp/delimiting.hpp"
#include "normal_dif/core/ipcp/ipcp.hpp"
#include "normal_dif/core/rmt/policies.hpp"
#include "normal_dif/core/sdu_protection/policies.hpp"
#include "normal_dif/core/transfer/data_transfer.hpp"
#include "sim.hpp"
#include "watch.hpp"

namespace sluice::sim {

struct IpcProcessConfig {
    mgmt::IpcpConfig ipcp;
    std::string scheduler = "fifo";
    std::string protection = "none";
    std::vector<Provider*> lowers;
    std::uint64_t first_sequence = 0;  // of all its flows, and of those of its peers
    bool gives_no_addresses = false;   // to those that it lets in
};

// An IPC process of a normal DIF on a node: the product's layer management and data transfer, and
// what the dataplane's adapters are around them. A user of the DIFs below, a provider to those
// above.
class IpcProcess final : public Provider, public FlowUser {
  public:
    IpcProcess(Env& env, IpcProcessConfig config);
    ~IpcProcess() override;
    IpcProcess(const IpcProcess&) = delete;
    IpcProcess& operator=(const IpcProcess&) = delete;

    const mgmt::Ipcp& ipcp() const noexcept { return *ipcp_; }
    const transfer::DataTransfer& data() const noexcept { return transfer_; }
    void enroll(const std::string& lower_dif, const std::string& peer);
    // What an operator does to it while it runs.
    Result<> set_parameter(std::string_view component, std::string_view name,
                           std::string_view value) {
        auto done = ipcp_->set_parameter(env_.now(), component, name, value);
        act();
        return done;
    }
    void disconnect(const std::string& neighbor);
    void set_reads_slowly(bool slowly);

    // Where the flow of an N-1 port leads, for checkers: the DIF's name.
    const std::string* lower_of(rmt::N1PortId port) const;
    // A frame of a member that does not keep to the rules, to all its neighbours.
    void inject(const Bytes& frame);
    const Bytes& last_frame() const noexcept { return last_frame_; }

    // Provider
    const std::string& dif() const override { return config_.ipcp.dif; }
    void register_name(FlowUser& user, const rina::AppName& name) override;
    void unregister_name(const rina::AppName& name) override;
    Result<> allocate(FlowUser& user, const rina::AppName& local, const rina::AppName& remote,
                      const mgmt::FlowSpec& spec, std::uint32_t cookie) override;
    void accept(FlowUser& user, PortId flow) override;
    void deallocate(PortId flow) override;
    bool write(PortId flow, const Bytes& sdu) override;
    void forget(FlowUser& user) override;

    // FlowUser
    void requested(Provider& dif, PortId flow, const rina::AppName& local,
                   const rina::AppName& remote) override;
    void allocated(Provider& dif, PortId flow, std::uint32_t cookie,
                   const mgmt::FlowTerms& terms) override;
    void failed(Provider& dif, std::uint32_t cookie, const std::string& why) override;
    void closed(Provider& dif, PortId flow) override;
    void arrived(Provider& dif, PortId flow, Bytes sdu) override;
    void writable(Provider& dif, PortId flow) override;

  private:
    struct N1Port {
        Provider* lower = nullptr;
        PortId flow{};
        rmt::AnyScheduler scheduler;
        sdup::Protection protection;
    };
    struct Flow {
        FlowUser* user = nullptr;
        std::uint32_t cookie = 0;
        mgmt::FlowTerms terms;
        bool is_failed = false;
        bool wants_room = false;
        std::unique_ptr<efcp::Reassembler> reassembler;
        Bytes partial;
    };

    void act();
    void on(mgmt::SendToNeighbor& s);
    void on(mgmt::SendToMember& m);
    void on(mgmt::AllocateLowerFlow& a);
    void on(mgmt::ReleaseLowerFlow& r) { remove_port(r.port); }
    void on(mgmt::PublishRoutes& p);
    void on(mgmt::AllowSource& a);
    void on(mgmt::AddressChanged& c);
    void on(mgmt::NeighborEvent&) {}
    void on(mgmt::PolicyEvent&) {}
    void on(mgmt::Bind& b);
    void on(mgmt::SetPeer& s);
    void on(mgmt::Drain& d) { transfer_.drain(env_.now(), d, out_); }
    void on(mgmt::Shut& s) { transfer_.shut(env_.now(), s, out_); }
    void on(mgmt::Unbind& u);
    void on(mgmt::FlowRequested& q);
    void on(mgmt::FlowAllocated& a);
    void on(mgmt::FlowFailed& f);
    void on(mgmt::FlowDeallocated& d);
    void drain_out();
    void deliver(const transfer::TransferOutbox::Deliver& item);
    void hand_up(PortId flow, Bytes sdu);
    void reassemble(PortId id, Flow& flow, const transfer::TransferOutbox::Deliver& item);
    void drop_partial(Flow& flow);
    Bytes frame_of(const rina::Pci& pci, std::span<const std::byte> payload) const;
    void enqueue(rmt::N1PortId port, Bytes frame, rina::QosId qos);
    void pull(rmt::N1PortId port);
    void send_frame(N1Port& port, Bytes frame);
    void loop_back(Bytes frame);
    void take_frames(rmt::N1PortId port, Bytes frame);
    void on_timer();
    void arm();
    void remove_port(rmt::N1PortId port);
    rmt::N1PortId add_port(Provider& lower, PortId flow);
    Provider* lower(const std::string& dif) const;
    std::function<void()> guarded(std::function<void()> act);

    Env& env_;
    IpcProcessConfig config_;
    Watch watch_;
    std::unique_ptr<mgmt::Ipcp> ipcp_;
    transfer::DataTransfer transfer_;
    transfer::TransferOutbox out_;
    std::map<rmt::N1PortId, N1Port> ports_;
    std::map<std::pair<Provider*, PortId>, rmt::N1PortId> by_flow_;
    struct Asked {
        std::string lower_dif, peer;
    };
    std::map<std::uint32_t, Asked> asked_;
    std::uint32_t next_cookie_ = 1;
    std::map<PortId, Flow> flows_;
    std::map<std::string, FlowUser*> names_;
    bool reads_slowly_ = false;
    bool has_moved_ = false;  // to the address that it got when it joined
    std::map<PortId, std::uint32_t> unread_;
    Instant armed_ = Instant::never();
    std::uint16_t ttl_ = 0;  // of the PDU that is looked at
    Bytes last_frame_;
    std::uint64_t life_;  // events that come when this is gone do nothing
};

}  // namespace sluice::sim
