#pragma once

#include <algorithm>
#include <deque>
#include <map>
#include <set>

#include "base/rng.hpp"
#include "shim_hv/core/shim_hv.hpp"

// Private to the library: what the state machines of both profiles have in common.

namespace sluice::shim_hv {

struct Flow {
    FlowHandle handle{};
    FlowState state = FlowState::requested;
    std::uint32_t channel = 0;
    std::uint8_t generation = 0;
    std::uint32_t transaction = 0;
    bool initiator = false;
    bool bound = false;
    bool collided = false;  // irati: the peer asked for this channel while we did
    bool second_try = false;
    std::uint32_t cookie = 0;
    rina::AppName source;
    rina::AppName destination;
    rina::Reason close_reason = rina::Reason::ok;
    Instant since{};
    Instant deadline = Instant::never();
    Instant retry_at = Instant::never();
    Duration retry_gap{};

    Instant next() const noexcept { return earlier(deadline, retry_at); }
};

struct ChannelSlot {
    std::uint32_t flow = 0;  // handle, 0 = free
    Instant freed_at{};
    bool used = false;  // was in use since the peer was confirmed
    // The last use: as owner the generation we drew, as peer the request that we answered.
    std::uint8_t generation = 0;
    std::uint32_t transaction = 0;
    rina::Reason answer = rina::Reason::ok;
};

class ShimHv::Machine {
  public:
    explicit Machine(const Params& params);
    virtual ~Machine() = default;

    virtual void link_up(Instant now, Outbox& out) = 0;
    virtual void link_down(Instant now, Outbox& out) = 0;
    virtual void on_control(Instant now, std::span<const std::byte> message, Outbox& out) = 0;
    virtual void on_timeout(Instant now, Outbox& out) = 0;
    virtual Instant next_deadline() const noexcept = 0;
    void note_frame_seen(Instant now) noexcept { last_seen_ = std::max(last_seen_, now); }

    Result<> register_app(const rina::AppName& name);
    Result<> unregister_app(Instant now, const rina::AppName& name, Outbox& out);
    Result<FlowHandle> allocate(Instant now, const rina::AppName& source,
                                const rina::AppName& destination, std::uint32_t cookie,
                                Outbox& out);
    Result<> accept(Instant now, FlowHandle flow, std::uint32_t cookie, Outbox& out);
    Result<> refuse(Instant now, FlowHandle flow, rina::Reason reason, Outbox& out);
    Result<> deallocate(Instant now, FlowHandle flow, Outbox& out);

    DeviceState state() const noexcept { return state_; }
    const AgreedLimits& limits() const noexcept { return limits_; }
    const Params& params() const noexcept { return params_; }
    const ControlCounters& counters() const noexcept { return counters_; }
    virtual DeviceInfo info() const;

  protected:
    // Sends the request on flow.channel, which is ours; the flow is bound already.
    virtual void send_request(Instant now, Flow& flow, Outbox& out) = 0;
    // Of a flow that is bound now.
    virtual void send_acceptance(const Flow& flow, Outbox& out) = 0;
    virtual void send_refusal(const Flow& flow, rina::Reason reason, Outbox& out) = 0;
    // Tells the peer that an unbound flow is over, and keeps or forgets it as the profile does.
    virtual void close(Instant now, Flow& flow, rina::Reason reason, Outbox& out) = 0;
    // 0 if there is none.
    virtual std::uint32_t draw_channel(Instant now) = 0;
    virtual void on_freed(std::uint32_t channel) {}

    Flow* find(FlowHandle handle) noexcept;
    Flow* flow_on(std::uint32_t channel) noexcept;
    // What was agreed is never more than there are slots for.
    bool in_range(std::uint32_t channel) const noexcept {
        return channel >= 1 && channel <= limits_.max_channels;
    }
    Flow& add_flow(Instant now, std::uint32_t channel, bool initiator);
    // Forgets the flow; its channel is free from now on.
    void forget(Instant now, Flow& flow);
    void bind(Flow& flow, Outbox& out);
    void unbind(Flow& flow, Outbox& out);
    // The event that the user of a flow in its present state must get.
    void tell(const Flow& flow, rina::Reason reason, Outbox& out) const;
    // Frees every channel without a message and tells the users.
    void reset_flows(rina::Reason reason, Outbox& out);
    std::size_t pending_offers() const noexcept;
    bool is_offered_here(const rina::AppName& name) const;
    void send_frame(std::span<const std::byte> message, Outbox& out) const;
    void drop(VmpiDrop reason) noexcept { ++counters_.drops[static_cast<std::size_t>(reason)]; }
    Instant earliest_flow_deadline() const noexcept;
    // Handles of the flows for which something is due; they may vanish while they are worked on.
    std::vector<std::uint32_t> flows_due(Instant now) const;

    Params params_;
    Rng rng_;
    DeviceState state_ = DeviceState::link_down;
    AgreedLimits limits_{};
    rina::Reason last_down_ = rina::Reason::ok;
    ControlCounters counters_{};
    Instant last_seen_{};
    std::set<rina::AppName> apps_;
    std::map<std::uint32_t, Flow> flows_;
    std::vector<ChannelSlot> slots_;
    std::uint32_t next_handle_ = 1;
};

class ShimHv::SluiceMachine final : public ShimHv::Machine {
  public:
    explicit SluiceMachine(const Params& params);

    void link_up(Instant now, Outbox& out) override;
    void link_down(Instant now, Outbox& out) override;
    void on_control(Instant now, std::span<const std::byte> message, Outbox& out) override;
    void on_timeout(Instant now, Outbox& out) override;
    Instant next_deadline() const noexcept override;
    DeviceInfo info() const override;

  private:
    void send_request(Instant now, Flow& flow, Outbox& out) override;
    void send_acceptance(const Flow& flow, Outbox& out) override;
    void send_refusal(const Flow& flow, rina::Reason reason, Outbox& out) override;
    void close(Instant now, Flow& flow, rina::Reason reason, Outbox& out) override;
    std::uint32_t draw_channel(Instant now) override;
    void on_freed(std::uint32_t channel) override;

    // session.cpp: HELLO, epochs, keepalive
    void start_session(Instant now, Outbox& out);
    void reset(rina::Reason reason, Outbox& out);
    void on_hello(Instant now, const rina::vmpi::Message& message, Outbox& out);
    void confirm(Instant now, const rina::vmpi::Message& message, Outbox& out);
    bool agree(const rina::vmpi::Hello& theirs);
    void send_hello(std::uint64_t echo, Outbox& out);
    void answer_stale(Instant now, Outbox& out);
    void session_timeout(Instant now, Outbox& out);
    Instant session_deadline() const noexcept;
    bool is_peer_parity(std::uint32_t channel) const noexcept;

    // flows.cpp: the messages that name a channel
    void on_flow_message(Instant now, const rina::vmpi::Message& message, Outbox& out);
    void on_request(Instant now, const rina::vmpi::Message& message, Outbox& out);
    void on_new_request(Instant now, const rina::vmpi::Message& message, Outbox& out);
    void on_response(Instant now, const rina::vmpi::Message& message, Outbox& out);
    void on_deallocate(Instant now, const rina::vmpi::Message& message, Outbox& out);
    void flow_timeout(Instant now, Flow& flow, Outbox& out);
    Flow* match(const rina::vmpi::Message& message) noexcept;
    void respond(const rina::vmpi::Message& request, rina::Reason answer, Outbox& out);
    void send(rina::vmpi::Message message, bool again, Outbox& out);
    void send_about(const Flow& flow, rina::vmpi::Type type, rina::Reason code, bool again,
                    Outbox& out);

    std::uint64_t own_epoch_ = 0;
    std::uint64_t own_nonce_ = 0;
    std::uint64_t peer_epoch_ = 0;
    rina::vmpi::Role peer_role_ = rina::vmpi::Role::alike;
    std::uint64_t candidate_ = 0;
    std::uint64_t challenge_ = 0;       // ours, for the candidate
    std::uint64_t peer_challenge_ = 0;  // the candidate's, for us
    Instant hello_at_ = Instant::never();
    Duration hello_gap_{};
    Instant keepalive_sent_{};
    Instant stale_answered_{};
    std::uint32_t next_transaction_ = 1;
    std::deque<std::uint32_t> free_;  // our parity's channels, the longest free first
};

class ShimHv::IratiMachine final : public ShimHv::Machine {
  public:
    explicit IratiMachine(const Params& params);

    void link_up(Instant now, Outbox& out) override;
    void link_down(Instant now, Outbox& out) override;
    void on_control(Instant now, std::span<const std::byte> message, Outbox& out) override;
    void on_timeout(Instant now, Outbox& out) override;
    Instant next_deadline() const noexcept override;

  private:
    void send_request(Instant now, Flow& flow, Outbox& out) override;
    void send_acceptance(const Flow& flow, Outbox& out) override;
    void send_refusal(const Flow& flow, rina::Reason reason, Outbox& out) override;
    void close(Instant now, Flow& flow, rina::Reason reason, Outbox& out) override;
    std::uint32_t draw_channel(Instant now) override;

    void on_request(Instant now, const rina::vmpi::IratiMessage& message, Outbox& out);
    void on_response(Instant now, const rina::vmpi::IratiMessage& message, Outbox& out);
    void on_deallocate(Instant now, const rina::vmpi::IratiMessage& message, Outbox& out);
    void send(const rina::vmpi::IratiMessage& message, Outbox& out);
    void respond(std::uint32_t channel, bool accepted, Outbox& out);
};

}  // namespace sluice::shim_hv
