#pragma once

#include <cstdint>
#include <span>

#include "base/instant.hpp"
#include "normal_dif/core/efcp/outbox.hpp"
#include "normal_dif/core/efcp/policies.hpp"
#include "normal_dif/core/efcp/profile.hpp"
#include "normal_dif/core/efcp/receiver.hpp"
#include "normal_dif/core/efcp/sender.hpp"
#include "normal_dif/core/faults.hpp"

// An EFCP connection: data transfer (DTP) and its control (DTCP) between two CEP-ids, compatible
// with rlite's (kernel/normal.c there) and better between our own nodes. A pure machine: it handles
// tokens, is told the time, and says in an Outbox what is to be done. After each call
// next_deadline() says when on_timeout() is due; a deadline that has passed means that the outbox
// was too small for all there is to say.
namespace sluice::efcp {

struct ConnectionIds {
    rina::Address local{};
    rina::Address remote{};
    rina::CepId local_cep{};
    rina::CepId remote_cep{};
    rina::QosId qos{};
};

class Connection {
  public:
    enum class State : std::uint8_t {
        open,
        closing,  // close() was called; what was submitted is still brought to the peer
        closed,
        failed,  // failure() says why
    };
    enum class Failure : std::uint8_t {
        none,
        retries_exhausted,  // of one PDU (data_rxmsn_max)
        time_exceeded,      // nothing new was acknowledged for too long
    };

    // The policies and the format must pass check(). Nothing is allocated before the first use.
    Connection(const ConnectionIds& ids, ProfileRef profile) noexcept;
    // With a profile of its own.
    Connection(const ConnectionIds& ids, const EfcpPolicies& policies,
               const rina::PciFormat& format)
        : Connection(ids, ProfileRef({policies, format})) {}
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;

    // Takes the first PDUs, as many as the return value says: fewer than all if the outbox is too
    // full for the outcome of the next one. Empty it, and come again with the others.
    std::size_t on_burst(Instant now, std::span<const RxItem> items, Outbox& out) noexcept;
    // Takes the first items; the others wait for event::kWritable. At most user_data_max() bytes
    // in each.
    std::size_t submit(Instant now, std::span<const TxItem> items, Outbox& out) noexcept {
        if (state_ != State::open) [[unlikely]]
            return 0;
        return sender_.submit(now, items, out);
    }
    void on_timeout(Instant now, Outbox& out) noexcept;
    Instant next_deadline() const noexcept;

    // The user is done with so many of the PDUs delivered to it: the peer may send more.
    void consumed(Instant now, std::uint32_t pdus, Outbox& out) noexcept;

    // No more is submitted. Until everything is acknowledged (without retransmission: sent), or
    // `linger` has passed, the connection goes on; then state() is closed, and undelivered() says
    // how many SDUs (PDUs) the peer is not known to have.
    void close(Instant now, Duration linger, Outbox& out) noexcept;
    // Ends at once. Gives tokens back as far as there is room; true if none is held any more.
    bool abort(Outbox& out) noexcept;

    State state() const noexcept { return state_; }
    Failure failure() const noexcept { return failure_; }
    // Of a connection that has ended.
    std::uint32_t undelivered() const noexcept { return undelivered_; }
    bool holds_nothing() const noexcept { return sender_.empty() && !receiver_.is_holding(); }

    std::uint32_t user_data_max() const noexcept {
        return static_cast<std::uint32_t>(format().pdu_bytes_max() - format().bytes());
    }
    ConnectionIds ids() const noexcept {
        return {header_.source, header_.destination, header_.source_cep, header_.destination_cep,
                header_.qos};
    }
    const EfcpPolicies& policies() const noexcept { return profile_->policies; }
    const rina::PciFormat& format() const noexcept { return profile_->format; }
    const Sender& sender() const noexcept { return sender_; }
    const Receiver& receiver() const noexcept { return receiver_; }

  private:
    bool is_mine(const rina::Pci& pci) const noexcept {
        return faults::is_active(faults::Fault::any_source_accepted) ||
               (pci.source == header_.destination && pci.source_cep == header_.destination_cep &&
                pci.destination_cep == header_.source_cep);
    }
    bool on_control(Instant now, const RxItem& item) noexcept;
    void after_data(Instant now, Outbox& out) noexcept;
    void acknowledge(Instant now, Outbox& out) noexcept;
    void send_control(Outbox& out, std::uint8_t type) noexcept;
    void probe(Instant now, Outbox& out) noexcept;
    void check_inactivity(Instant now) noexcept;
    void check_end(Instant now, Outbox& out) noexcept;
    void end(State state, Failure failure, Outbox& out) noexcept;
    bool flush(Outbox& out) noexcept;
    Instant sender_inactive_at() const noexcept;
    Instant receiver_inactive_at() const noexcept;

    ProfileRef profile_;
    rina::Pci header_;  // of what is sent
    SeqSpace space_;
    std::uint32_t ack_threshold_;
    std::uint32_t undelivered_ = 0;
    std::uint8_t control_type_;
    bool has_acks_;
    bool is_rlite_;

    State state_ = State::open;
    Failure failure_ = Failure::none;
    bool is_flushed_ = false;
    bool is_control_blocked_ = false;  // the outbox had no room for a control PDU
    bool congestion_seen_ = false;     // to be echoed
    bool any_control_received_ = false;
    std::uint64_t control_next_ = 0;
    std::uint64_t control_received_ = 0;
    Instant ack_at_ = Instant::never();
    Instant close_at_ = Instant::never();
    Instant received_at_ = Instant::never();

    Sender sender_;
    Receiver receiver_;
};
// An idle flow has nothing else: all queues, and what is known of the path, are allocated when they
// are needed first, and given back after 3 delta-t without traffic.
static_assert(sizeof(Connection) <= 704);

}  // namespace sluice::efcp
