#include "checkers.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace sluice::sim {

std::vector<std::byte> content_of(const Sdu& sdu) {
    std::vector<std::byte> bytes(sdu.size);
    std::uint64_t x = (static_cast<std::uint64_t>(sdu.direction.connection) << 33) ^
                      (static_cast<std::uint64_t>(sdu.sequence) << 1) ^ sdu.direction.to_side;
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        if (i % 8 == 0) x = x * 0x5851f42d4c957f2dull + 0x14057b7ef767814full;
        bytes[i] = static_cast<std::byte>(x >> (8 * (i % 8)));
    }
    return bytes;
}

PduToken TokenLedger::create(const Sdu& sdu) {
    tokens_.push_back({sdu, State::held});
    ++in_flight_;
    return static_cast<PduToken>(tokens_.size() - 1);
}

void TokenLedger::finish(PduToken token, State state) {
    Token& t = tokens_[index(token)];
    if (t.state != State::held)
        return verdicts_.fail("tokens", fmt::format("token {} ended twice", index(token)));
    t.state = state;
    --in_flight_;
}

void TokenLedger::check_held(std::size_t held) {
    if (held != in_flight_)
        verdicts_.fail("tokens", fmt::format("{} tokens are neither delivered nor dropped, but "
                                             "only {} are held",
                                             in_flight_, held));
}

void DeliveryChecker::on_sent(const Sdu& sdu, bool is_clean) {
    if (is_clean) expected_[sdu.direction].push_back(sdu.sequence);
}

void DeliveryChecker::on_arrived(const Sdu& sdu, Direction to, const std::byte* bytes,
                                 std::size_t size) {
    if (sdu.direction != to)
        return verdicts_.fail(
            "delivery", fmt::format("SDU {} of connection {} side {} came out at connection {} "
                                    "side {}",
                                    sdu.sequence, sdu.direction.connection, sdu.direction.to_side,
                                    to.connection, to.to_side));
    const std::vector<std::byte> right = content_of(sdu);
    if (size != right.size() || !std::equal(right.begin(), right.end(), bytes))
        return verdicts_.fail("delivery", fmt::format("SDU {} of connection {}: {} bytes sent, {} "
                                                      "came out, or others",
                                                      sdu.sequence, to.connection, right.size(),
                                                      size));
    auto& queue = expected_[to];
    const auto it = std::find(queue.begin(), queue.end(), sdu.sequence);
    if (it == queue.end()) return;  // from a time of trouble: may come twice or out of order
    if (it != queue.begin())
        return verdicts_.fail("order", fmt::format("connection {} side {}: SDU {} came before {}",
                                                   to.connection, to.to_side, sdu.sequence,
                                                   queue.front()));
    queue.pop_front();
}

void DeliveryChecker::excuse(const Sdu& sdu) {
    auto& queue = expected_[sdu.direction];
    queue.erase(std::remove(queue.begin(), queue.end(), sdu.sequence), queue.end());
}

void DeliveryChecker::on_closed(std::uint32_t connection) {
    expected_.erase({connection, 0});
    expected_.erase({connection, 1});
}

void DeliveryChecker::check_complete(Direction direction) {
    const auto it = expected_.find(direction);
    if (it != expected_.end() && !it->second.empty())
        verdicts_.fail("complete", fmt::format("connection {} side {}: {} SDUs never came, the "
                                               "first is {}",
                                               direction.connection, direction.to_side,
                                               it->second.size(), it->second.front()));
}

void SizeChecker::on_submitted(std::uint32_t size, std::uint32_t limit,
                               bool was_refused_for_length) {
    if ((size > limit) != was_refused_for_length)
        verdicts_.fail("size", fmt::format("SDU of {} bytes with a limit of {} was {}", size, limit,
                                           was_refused_for_length ? "refused" : "taken"));
}

void QueueChecker::on_queue(std::uint64_t units, std::uint64_t window) {
    if (units > window)
        verdicts_.fail("queue", fmt::format("{} units wait for an application whose window is {}",
                                            units, window));
}

void QueueChecker::on_outbox(std::size_t actions, std::size_t channels) {
    if (actions > 4 * channels + 16)
        verdicts_.fail("queue", fmt::format("{} actions at once from a device of {} channels",
                                            actions, channels));
}

void QueueChecker::on_pending(std::size_t offered, std::size_t limit) {
    if (offered > limit)
        verdicts_.fail("queue", fmt::format("{} requests wait for an answer, at most {} may",
                                            offered, limit));
}

void QueueChecker::on_overrun(bool is_expected) {
    if (!is_expected)
        verdicts_.fail("credit", "an honest sender sent what it was not granted, and it was lost");
}

void FlowChecker::on_requested(const rina::AppName& destination, bool is_registered) {
    if (!is_registered)
        verdicts_.fail("names", fmt::format("\"{}\" was asked for, which is not registered here",
                                            destination.to_string()));
}

void FlowChecker::on_allocated(bool was_asked_for) {
    if (!was_asked_for) verdicts_.fail("flows", "a flow was allocated that nobody waits for");
}

void FlowChecker::on_failed(rina::Reason reason, bool is_irati) {
    using rina::Reason;
    // Between two ends that speak the protocol a channel is never the wrong one. The older
    // profile cannot promise that.
    const bool is_protocol_error =
        reason == Reason::ok || reason == Reason::bad_channel ||
        (reason == Reason::channel_in_use && !is_irati);
    if (is_protocol_error)
        verdicts_.fail("glare", fmt::format("an allocation failed with \"{}\"",
                                            rina::to_string(reason)));
}

void RingChecker::check_rest(std::uint32_t capacity, std::uint32_t buffers_free,
                             std::uint32_t under_way) {
    if (buffers_free + under_way != capacity)
        verdicts_.fail("ring", fmt::format("a ring of {} buffers has {} left and {} under way",
                                           capacity, buffers_free, under_way));
}

}  // namespace sluice::sim
