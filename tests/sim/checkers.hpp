#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/instant.hpp"
#include "base/types.hpp"
#include "rina/names.hpp"

// What must hold, each in a class of its own. A checker sees what the model applications and the
// simulated rings see, never the inside of the machines under test.

namespace sluice::sim {

struct Failure {
    std::string checker;
    std::string text;
};

// The first failure of a run; later ones are consequences.
class Verdicts {
  public:
    void fail(std::string_view checker, std::string text) {
        if (!first_) first_ = Failure{std::string(checker), std::move(text)};
    }
    bool failed() const noexcept { return first_.has_value(); }
    const std::optional<Failure>& first() const noexcept { return first_; }

  private:
    std::optional<Failure> first_;
};

// One direction of one connection: the connection's number and the side that receives.
struct Direction {
    std::uint32_t connection = 0;
    std::uint32_t to_side = 0;
    auto operator<=>(const Direction&) const noexcept = default;
};

struct Sdu {
    Direction direction{};
    std::uint32_t sequence = 0;
    std::uint32_t size = 0;
};

// The bytes of an SDU say whose it is, so that a wrong byte or a wrong flow shows.
std::vector<std::byte> content_of(const Sdu& sdu);

// Token conservation: a token is held by somebody until it is delivered or dropped, once.
class TokenLedger {
  public:
    explicit TokenLedger(Verdicts& verdicts) noexcept : verdicts_(verdicts) {}

    PduToken create(const Sdu& sdu);
    const Sdu& sdu(PduToken token) const { return tokens_[index(token)].sdu; }
    void deliver(PduToken token) { finish(token, State::delivered); }
    void drop(PduToken token) { finish(token, State::dropped); }
    std::size_t in_flight() const noexcept { return in_flight_; }
    std::size_t created() const noexcept { return tokens_.size(); }
    // At the end of a run, with what the model still holds.
    void check_held(std::size_t held);

  private:
    enum class State : std::uint8_t { held, delivered, dropped };
    struct Token {
        Sdu sdu;
        State state = State::held;
    };
    static std::size_t index(PduToken token) noexcept { return static_cast<std::size_t>(token); }
    void finish(PduToken token, State state);

    Verdicts& verdicts_;
    std::vector<Token> tokens_;
    std::size_t in_flight_ = 0;
};

// Right flow, right bytes, and on a ring that kept order and lost nothing: in order and all.
class DeliveryChecker {
  public:
    explicit DeliveryChecker(Verdicts& verdicts) noexcept : verdicts_(verdicts) {}

    // is_clean: the ring under it does what rings do.
    void on_sent(const Sdu& sdu, bool is_clean);
    // The shim handed it to the user of `to`.
    void on_arrived(const Sdu& sdu, Direction to, const std::byte* bytes, std::size_t size);
    // The low level or a limit took it away, and that is known and allowed.
    void excuse(const Sdu& sdu);
    void on_closed(std::uint32_t connection);
    // Of a flow that is open at both ends, when everything has come to rest.
    void check_complete(Direction direction);

  private:
    Verdicts& verdicts_;
    std::map<Direction, std::deque<std::uint32_t>> expected_;
};

// An SDU longer than the flow can carry is refused at once, and one that is not, is not.
class SizeChecker {
  public:
    explicit SizeChecker(Verdicts& verdicts) noexcept : verdicts_(verdicts) {}
    void on_submitted(std::uint32_t size, std::uint32_t limit, bool was_refused_for_length);

  private:
    Verdicts& verdicts_;
};

// Queues between ring and application stay within the window that was configured.
class QueueChecker {
  public:
    explicit QueueChecker(Verdicts& verdicts) noexcept : verdicts_(verdicts) {}
    void on_queue(std::uint64_t units, std::uint64_t window);
    void on_outbox(std::size_t actions, std::size_t channels);
    void on_pending(std::size_t offered, std::size_t limit);
    void on_overrun(bool is_expected);

  private:
    Verdicts& verdicts_;
};

// Only registered names are asked, and an allocation ends for a reason that can be.
class FlowChecker {
  public:
    explicit FlowChecker(Verdicts& verdicts) noexcept : verdicts_(verdicts) {}
    void on_requested(const rina::AppName& destination, bool is_registered);
    void on_allocated(bool was_asked_for);
    void on_failed(rina::Reason reason, bool is_irati);

  private:
    Verdicts& verdicts_;
};

// A ring gets each of its buffers back.
class RingChecker {
  public:
    explicit RingChecker(Verdicts& verdicts) noexcept : verdicts_(verdicts) {}
    void check_rest(std::uint32_t capacity, std::uint32_t buffers_free, std::uint32_t under_way);

  private:
    Verdicts& verdicts_;
};

}  // namespace sluice::sim
