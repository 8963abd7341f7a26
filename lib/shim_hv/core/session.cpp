// Profile sluice: greeting, epochs, limits, keepalive (docs/vmpi.md, section 3).

#include "shim_hv/core/machine.hpp"

namespace sluice::shim_hv {

namespace vmpi = rina::vmpi;

namespace {

std::uint64_t draw_nonzero(Rng& rng) noexcept {
    std::uint64_t value = 0;
    while (value == 0) value = rng.next();
    return value;
}

}  // namespace

ShimHv::SluiceMachine::SluiceMachine(const Params& params) : Machine(params) {
    next_transaction_ = static_cast<std::uint32_t>(rng_.next()) | 1u;
}

void ShimHv::SluiceMachine::link_up(Instant now, Outbox& out) {
    if (state_ != DeviceState::link_down) return;
    start_session(now, out);
}

void ShimHv::SluiceMachine::link_down(Instant now, Outbox& out) {
    if (state_ == DeviceState::link_down) return;
    if (!faulty(Fault::no_timeout_no_reset)) reset(rina::Reason::link_down, out);
    state_ = DeviceState::link_down;
    hello_at_ = Instant::never();
}

// A new life: the peer can tell from the epoch that nothing of the former one counts any more.
void ShimHv::SluiceMachine::start_session(Instant now, Outbox& out) {
    own_epoch_ = draw_nonzero(rng_);
    own_nonce_ = rng_.next();
    peer_epoch_ = 0;
    candidate_ = 0;
    challenge_ = 0;
    peer_challenge_ = 0;
    state_ = DeviceState::greeting;
    last_seen_ = now;
    keepalive_sent_ = now;
    hello_gap_ = params_.timers.hello_first;
    hello_at_ = now + hello_gap_;
    send_hello(0, out);
}

void ShimHv::SluiceMachine::reset(rina::Reason reason, Outbox& out) {
    const bool was_up = state_ == DeviceState::up;
    reset_flows(reason, out);
    if (peer_epoch_ != 0) out.add(SetEpochs{own_epoch_, 0, {}});
    peer_epoch_ = 0;
    limits_ = {};
    last_down_ = reason;
    if (was_up) out.add(DeviceDown{reason});
}

void ShimHv::SluiceMachine::send_hello(std::uint64_t echo, Outbox& out) {
    vmpi::Message message;
    message.type = vmpi::Type::hello;
    message.hello.challenge = challenge_;
    message.hello.echo = echo;
    message.hello.nonce = own_nonce_;
    message.hello.features = params_.features;
    message.hello.max_sdu = params_.max_sdu_rx;
    message.hello.max_channels = params_.max_channels;
    message.hello.credit_unit = params_.credit_unit;
    message.hello.role = params_.role;
    send(message, false, out);
}

void ShimHv::SluiceMachine::on_hello(Instant now, const vmpi::Message& message, Outbox& out) {
    if (message.epoch == own_epoch_) return drop(VmpiDrop::stale_control);  // our own, reflected
    const bool has_confirmed_us = message.peer_epoch == own_epoch_;
    if (message.epoch == peer_epoch_) {
        if (!has_confirmed_us) send_hello(message.hello.challenge, out);
        return;
    }
    if (message.epoch != candidate_) {
        candidate_ = message.epoch;
        challenge_ = draw_nonzero(rng_);
    }
    peer_challenge_ = message.hello.challenge;
    // Only the living candidate can know the challenge: a HELLO of an earlier life, delayed or
    // repeated, ends here.
    if (message.hello.echo != challenge_) return send_hello(peer_challenge_, out);
    confirm(now, message, out);
    if (peer_epoch_ == message.epoch && !has_confirmed_us) send_hello(peer_challenge_, out);
}

void ShimHv::SluiceMachine::confirm(Instant now, const vmpi::Message& message, Outbox& out) {
    if (peer_epoch_ != 0 && !faulty(Fault::no_timeout_no_reset))
        reset(rina::Reason::peer_restarted, out);
    const vmpi::Role theirs = message.hello.role;
    const bool by_nonce = theirs == params_.role || theirs == vmpi::Role::alike ||
                          params_.role == vmpi::Role::alike;
    if (by_nonce && message.hello.nonce == own_nonce_) return start_session(now, out);

    peer_epoch_ = message.epoch;
    candidate_ = 0;
    peer_role_ = theirs;
    last_seen_ = now;
    keepalive_sent_ = now;
    hello_at_ = Instant::never();
    const bool compatible = agree(message.hello);
    limits_.we_take_odd =
        by_nonce ? own_nonce_ < message.hello.nonce : params_.role == vmpi::Role::frontend;
    state_ = compatible ? DeviceState::up : DeviceState::incompatible;
    if (!faulty(Fault::no_timeout_no_reset) || free_.empty()) {
        free_.clear();
        std::fill(slots_.begin(), slots_.end(), ChannelSlot{});
        for (std::uint32_t channel = 1; channel <= limits_.max_channels; ++channel)
            if (!is_peer_parity(channel)) free_.push_back(channel);
    }
    out.add(SetEpochs{own_epoch_, peer_epoch_, limits_});
    if (compatible) {
        out.add(DeviceUp{limits_});
    } else {
        last_down_ = rina::Reason::version;
        out.add(DeviceDown{rina::Reason::version});
    }
}

bool ShimHv::SluiceMachine::agree(const vmpi::Hello& theirs) {
    limits_ = {};
    limits_.max_sdu_rx = params_.max_sdu_rx;
    limits_.max_sdu_tx = std::min(params_.max_sdu_tx, theirs.max_sdu);
    limits_.max_channels = std::min(params_.max_channels, theirs.max_channels);
    limits_.credit_unit = std::max(params_.credit_unit, theirs.credit_unit);
    limits_.features = params_.features & theirs.features;
    if (theirs.min_version > vmpi::kVersion || theirs.max_version < vmpi::kVersion) return false;
    limits_.version = vmpi::kVersion;
    return true;
}

bool ShimHv::SluiceMachine::is_peer_parity(std::uint32_t channel) const noexcept {
    if (faulty(Fault::lowest_free_numbering)) return false;
    return ((channel & 1) != 0) != limits_.we_take_odd;
}

void ShimHv::SluiceMachine::answer_stale(Instant now, Outbox& out) {
    if (now - stale_answered_ < params_.timers.retransmit_first) return;
    stale_answered_ = now;
    send_hello(peer_challenge_, out);
}

void ShimHv::SluiceMachine::on_control(Instant now, std::span<const std::byte> bytes,
                                       Outbox& out) {
    if (state_ == DeviceState::link_down) return drop(VmpiDrop::device_down);
    vmpi::Message message;
    const vmpi::ParseError error = vmpi::parse(bytes, message);
    ++counters_.parse_errors[static_cast<std::size_t>(error)];
    if (error != vmpi::ParseError::none) return drop(VmpiDrop::bad_control);
    if (message.type == vmpi::Type::credit || message.type == vmpi::Type::credit_probe) return;
    ++counters_.received[static_cast<std::size_t>(message.type)];
    note_frame_seen(now);
    if (message.type == vmpi::Type::hello) return on_hello(now, message, out);

    const bool is_pair = peer_epoch_ != 0 && message.epoch == peer_epoch_ &&
                         message.peer_epoch == own_epoch_;
    if (!is_pair) {
        drop(VmpiDrop::stale_control);
        return answer_stale(now, out);
    }
    if (message.type == vmpi::Type::keepalive) {
        vmpi::Message ack;
        ack.type = vmpi::Type::keepalive_ack;
        ack.transaction = message.transaction;
        return send(ack, false, out);
    }
    if (message.type == vmpi::Type::keepalive_ack) return;
    if (state_ != DeviceState::up) return drop(VmpiDrop::device_down);
    on_flow_message(now, message, out);
}

Instant ShimHv::SluiceMachine::session_deadline() const noexcept {
    if (state_ == DeviceState::greeting) return hello_at_;
    if (state_ == DeviceState::link_down || faulty(Fault::no_timeout_no_reset))
        return Instant::never();
    const Instant probe = std::max(last_seen_, keepalive_sent_) + params_.timers.keepalive;
    return earlier(probe, last_seen_ + params_.timers.dead_after);
}

void ShimHv::SluiceMachine::session_timeout(Instant now, Outbox& out) {
    if (now < session_deadline()) return;
    if (state_ == DeviceState::greeting) {
        hello_gap_ = std::min(hello_gap_ * 2, params_.timers.hello_max);
        hello_at_ = now + hello_gap_;
        return send_hello(peer_challenge_, out);
    }
    if (now - last_seen_ >= params_.timers.dead_after) {
        reset(rina::Reason::peer_unresponsive, out);
        return start_session(now, out);
    }
    keepalive_sent_ = now;
    vmpi::Message message;
    message.type = vmpi::Type::keepalive;
    message.transaction = next_transaction_++;
    send(message, false, out);
}

void ShimHv::SluiceMachine::send(vmpi::Message message, bool again, Outbox& out) {
    message.epoch = own_epoch_;
    message.peer_epoch = peer_epoch_;
    std::array<std::byte, vmpi::kControlBytesMax> bytes;
    const std::size_t size = vmpi::encode(message, bytes);
    SLUICE_CHECK(size > 0);
    if (faulty(Fault::host_byte_order) && host_is_big_endian && message.channel != 0)
        vmpi::store_le32(bytes.data() + vmpi::kCommonBytes, __builtin_bswap32(message.channel));
    auto& counter = again ? counters_.retransmitted : counters_.sent;
    ++counter[static_cast<std::size_t>(message.type)];
    send_frame(std::span<const std::byte>(bytes.data(), size), out);
}

DeviceInfo ShimHv::SluiceMachine::info() const {
    DeviceInfo info = Machine::info();
    info.own_epoch = own_epoch_;
    info.peer_epoch = peer_epoch_;
    info.peer_role = peer_role_;
    return info;
}

}  // namespace sluice::shim_hv
