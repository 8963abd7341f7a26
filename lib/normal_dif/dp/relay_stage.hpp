#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "dataplane/flow_gate.hpp"
#include "dataplane/kind.hpp"
#include "dataplane/published.hpp"
#include "dataplane/punt.hpp"
#include "dataplane/stage.hpp"
#include "normal_dif/core/rmt/policies.hpp"
#include "normal_dif/core/rmt/rmt.hpp"
#include "normal_dif/core/sdu_protection/policies.hpp"

// The relaying task of an IPC process on mbufs (Vrijders et al., "Unreliable inter process
// communication in Ethernet", scenarios (b) and (c): the host relays between its virtual machines).
namespace sluice::normal_dif {

// An N-1 flow as the relay knows it. Made by the control thread, the stage's from attach until
// acked() has passed its detach; then all its PDUs are gone.
struct N1Flow {
    N1Flow(rmt::AnyScheduler sched, sdup::Protection prot)
        : scheduler(std::move(sched)), protection(std::move(prot)) {}

    rmt::N1PortId port{};
    unsigned outlet = 0;         // of the device that carries it
    std::uint32_t channel = 0;   // there
    std::uint32_t max_sdu = 0;   // bytes
    dp::FlowGate* gate = nullptr;
    rmt::AnyScheduler scheduler;  // of PDUs that have to wait
    sdup::Protection protection;

    // lcore
    bool is_plain = false;  // nothing is done to PDUs before they are sent, nor after
    bool is_waiting = false;
    std::uint64_t submitted = 0, consumed = 0;  // credit units, as in FlowGate
};

// Pointers stay the sender's until acked() has passed the mail.
enum class RelayMail : std::uint32_t {
    attach = 1,   // pointer: the N1Flow
    detach,       // pointer: the N1Flow
    port_up,      // arg: the N-1 port; words[0]: 1 or 0
    allow_source, // arg: the N-1 port; words[0]: the address, see Rmt::set_source()
    set_own,      // words[0]: this IPC process's address
};

// Punt: a management PDU (the packet, from its PCI on). words[0]: the N-1 port that it came from.
inline constexpr std::uint32_t kPuntManagementPdu = 0x200;

// Inlet 0: PDUs from N-1 flows, PduMeta::port_id the N-1 port. Inlet 1: PDUs of this IPC process,
// PduMeta::port_id the N-1 port, aux the QoS-id. Outlets: the devices, PduMeta::port_id the
// channel; and behind them one for PDUs to flows of this IPC process, PduMeta::port_id the CEP-id.
class RelayStage : public dp::Stage {
  public:
    struct Options {
        rmt::RmtParams rmt;
        unsigned devices = 1;
        // For the lifetime of the stage; nothing published: nothing is relayed.
        const dp::Published<rmt::Pft>* routes = nullptr;
        dp::Punt* punt = nullptr;
        std::uint32_t punt_quota = 256;
        rte_mempool* pool = nullptr;  // for copies of PDUs in several segments under protection
    };
    explicit RelayStage(const Options& options);

    static dp::KindInfo kind(unsigned devices);
    enum Count : unsigned { kRelayed, kRelayedBytes, kLocal, kManagement, kQueued, kMarked };

    dp::Busy poll(dp::LoopCtx& ctx) noexcept override;
    void process(dp::LoopCtx& ctx, dp::Burst& burst) noexcept override;
    void on_mail(dp::LoopCtx& ctx, const dp::Mail& mail) noexcept override;
    dp::Busy drain(dp::LoopCtx& ctx) noexcept override;
    void on_stop(dp::LoopCtx& ctx) noexcept override;
    dp::Wait wait_arm(dp::LoopCtx& ctx, int epoll_fd) noexcept override;

    // Any thread: how many mails have been carried out.
    std::uint64_t acked() const noexcept { return acked_.load(std::memory_order_acquire); }

  private:
    // PDUs on their way out, beside what schedulers and queues are told of them.
    struct Leaving {
        rte_mbuf* packet;
        rina::QosId qos;
    };

    N1Flow* flow_at(std::uint32_t port) const noexcept {
        return port < flows_.size() ? flows_[port] : nullptr;
    }
    void receive(dp::LoopCtx& ctx, N1Flow& from, rte_mbuf** packets, unsigned count) noexcept;
    template <typename Work>
    unsigned protect(dp::LoopCtx& ctx, rte_mbuf** packets, unsigned count, Work&& work) noexcept;
    template <typename Work>
    rte_mbuf* protect_copy(dp::LoopCtx& ctx, rte_mbuf* m, Work&& work) noexcept;
    unsigned open(dp::LoopCtx& ctx, N1Flow& from, rte_mbuf** packets, unsigned count) noexcept;
    unsigned seal(dp::LoopCtx& ctx, N1Flow& to, rte_mbuf** packets, unsigned count) noexcept;
    void dispatch(dp::LoopCtx& ctx, rte_mbuf** packets, unsigned count) noexcept;
    void punt(dp::LoopCtx& ctx, rte_mbuf* packet, rmt::N1PortId from) noexcept;
    void forward(dp::LoopCtx& ctx, N1Flow& to, const Leaving* leaving, unsigned count) noexcept;
    unsigned affordable(dp::LoopCtx& ctx, const N1Flow& to, const Leaving* leaving,
                        unsigned count) const noexcept;
    void transmit(dp::LoopCtx& ctx, N1Flow& to, rte_mbuf** packets, unsigned count) noexcept;
    void queue(dp::LoopCtx& ctx, N1Flow& to, const Leaving* leaving, unsigned count) noexcept;
    bool pull(dp::LoopCtx& ctx, N1Flow& to) noexcept;
    void drop_queue(dp::LoopCtx& ctx, N1Flow& to, DropReason reason) noexcept;
    void attach(N1Flow& flow) noexcept;
    void detach(dp::LoopCtx& ctx, N1Flow& flow) noexcept;

    const Options options_;
    rmt::Rmt rmt_;
    rmt::N1PortSet up_;
    dp::PuntQuota quota_;
    std::vector<N1Flow*> flows_;    // by N-1 port
    std::vector<N1Flow*> waiting_;  // those with PDUs in their queues
    std::vector<std::byte> flat_;   // a PDU in one piece
    std::array<rmt::RxPdu, dp::kBurstMax> pdus_{};
    std::array<rmt::Decision, dp::kBurstMax> decisions_{};
    std::atomic<std::uint64_t> acked_{0};
};

}  // namespace sluice::normal_dif
