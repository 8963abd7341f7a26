#pragma once

#include <cstdint>
#include <memory>
#include <queue>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/instant.hpp"
#include "normal_dif/core/efcp/connection.hpp"
#include "normal_dif/core/efcp/profile.hpp"
#include "normal_dif/core/faults.hpp"
#include "normal_dif/core/mgmt/flow_allocator_actions.hpp"
#include "normal_dif/core/rmt/rmt.hpp"

// The data transfer of an IPC process: its relaying task and its EFCP connections, for one owner
// (an lcore, or a node of the simulation). Layer management is elsewhere, and says what is to be
// done in the actions of flow_allocator_actions.hpp and with new routes.
namespace sluice::transfer {

struct TransferConfig {
    rmt::RmtParams rmt;
    std::uint64_t seed = 1;  // of the forwarding table's spreading
    // A data PDU may overtake the answer that says who may send it. So many of a flow are held.
    std::uint32_t early_max = 64;
    // How long a flow that its user has left goes on to bring what was written to the peer.
    Duration linger = Duration::seconds(3);
};

// What is to be done. Vectors, which keep their memory: nothing is allocated once they have grown.
struct TransferOutbox {
    struct Forward {  // a PDU from another node, its header rewritten
        rmt::N1PortId port{};
        PduToken token{};
        std::uint32_t bytes = 0;  // cut off what is behind them
        rina::QosId qos{};
    };
    struct Originate {  // kNoN1Port: back to this IPC process
        rmt::N1PortId port{};
        efcp::SendItem item;
    };
    struct Control {
        rmt::N1PortId port{};
        efcp::ControlItem item;
    };
    struct Deliver {
        PortId flow{};
        efcp::DeliverItem item;
    };
    struct Management {
        rmt::N1PortId from{};
        PduToken token{};
        rina::Pci pci;
    };
    struct Event {
        PortId flow{};
        std::uint8_t events = 0;  // efcp::event
    };

    std::vector<Forward> forward;
    std::vector<Originate> originate;
    std::vector<Control> control;
    std::vector<Deliver> deliver;
    std::vector<Management> management;
    std::vector<PduToken> done;
    std::vector<efcp::DropItem> drop;
    std::vector<Event> events;

    void clear() noexcept {
        forward.clear();
        originate.clear();
        control.clear();
        deliver.clear();
        management.clear();
        done.clear();
        drop.clear();
        events.clear();
    }
    bool empty() const noexcept {
        return forward.empty() && originate.empty() && control.empty() && deliver.empty() &&
               management.empty() && done.empty() && drop.empty() && events.empty();
    }
};

class DataTransfer {
  public:
    explicit DataTransfer(const TransferConfig& config) : config_(config), rmt_(config.rmt) {}

    // ---- layer management ----
    void bind(Instant now, const mgmt::Bind& bind);
    void set_peer(Instant now, const mgmt::SetPeer& peer, TransferOutbox& out);
    void drain(Instant now, const mgmt::Drain& drain, TransferOutbox& out);
    void shut(Instant now, const mgmt::Shut& shut, TransferOutbox& out);
    void unbind(const mgmt::Unbind& unbind, TransferOutbox& out);
    // All flows at once: the IPC process goes away.
    void unbind_all(TransferOutbox& out);
    // EINVAL, and the table before stays: entries that contradict each other.
    Result<> set_routes(std::vector<rmt::Route> routes);
    // An IPC process joins, or moves because somebody else has its address: what it was before is
    // not its own any more.
    void set_address(rina::Address own) noexcept { rmt_.set_own(own); }
    void set_port(rmt::N1PortId port, bool up) noexcept { up_.set(port, up); }
    // What may come from there, see rmt::Rmt.
    Result<> set_source(rmt::N1PortId port, rina::Address source) {
        if (faults::is_active(faults::Fault::sources_not_checked)) return {};
        return rmt_.set_source(port, source);
    }
    // For management PDUs by address.
    rmt::Decision route(const rina::Pci& pci) const noexcept { return rmt_.send(pci, pft_, up_); }

    // ---- PDUs and SDUs ----
    void on_pdus(Instant now, std::span<const rmt::RxPdu> pdus, TransferOutbox& out);
    // Takes the first items, as efcp::Connection does. None if there is no such flow, or it does
    // not send any more.
    std::size_t submit(Instant now, PortId flow, std::span<const efcp::TxItem> items,
                       TransferOutbox& out);
    void consumed(Instant now, PortId flow, std::uint32_t pdus, TransferOutbox& out);

    void on_timeout(Instant now, TransferOutbox& out);
    Instant next_deadline() noexcept;

    // ---- to look at ----
    const efcp::Connection* find(PortId flow) const noexcept;
    std::size_t flows() const noexcept { return by_port_.size(); }
    const rmt::Pft& pft() const noexcept { return pft_; }
    const rmt::Rmt& rmt() const noexcept { return rmt_; }

  private:
    struct Early {
        PduToken token{};
        rina::Pci pci;
        std::vector<std::byte> control;  // of a control PDU, its bytes
    };
    struct Waiting {
        mgmt::Bind bound;
        std::vector<Early> early;
    };
    struct Flow {
        PortId port{};
        std::uint32_t serial = 0;
        bool is_drained = false;  // the user is gone
        Instant armed = Instant::never();
        std::unique_ptr<efcp::Connection> connection;  // none until the peer is known
        std::unique_ptr<Waiting> waiting;              // until then
    };
    struct Timer {
        Instant at{};
        std::uint32_t cep = 0;
        std::uint32_t serial = 0;
        bool operator>(const Timer& o) const noexcept { return at > o.at; }
    };

    Flow* at(rina::CepId cep) const noexcept;
    Flow* at(PortId port) const noexcept;
    void connect(Flow& flow, const mgmt::Bind& bound, rina::CepId peer_cep);
    void give(Instant now, Flow& flow, std::span<const efcp::RxItem> items, TransferOutbox& out);
    void hold(Flow& flow, const rmt::RxPdu& pdu, const rina::Pci& pci, TransferOutbox& out);
    void pump(Instant now, Flow& flow, TransferOutbox& out);
    void carry(Flow& flow, TransferOutbox& out);
    void arm(Flow& flow, Instant now);

    TransferConfig config_;
    rmt::Rmt rmt_;
    rmt::Pft pft_;
    rmt::N1PortSet up_;
    efcp::ProfileTable profiles_;
    std::vector<std::unique_ptr<Flow>> flows_;  // by CEP-id
    std::unordered_map<PortId, rina::CepId> by_port_;
    std::priority_queue<Timer, std::vector<Timer>, std::greater<>> timers_;
    std::uint32_t next_serial_ = 1;
    efcp::Outbox scratch_;
    std::vector<rmt::Decision> decisions_;
};

}  // namespace sluice::transfer
