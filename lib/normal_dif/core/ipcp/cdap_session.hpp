#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "base/instant.hpp"
#include "rina/cdap.hpp"

namespace sluice::mgmt {

// Why a message of a session was not let through.
enum class SessionError : std::uint8_t {
    none,
    not_connected,      // an object's message outside of a connection
    not_pending,        // an answer to nothing that was asked
    repeated_id,        // a request with an id that was used within the last 15 s
    unexpected_connect,
};
inline constexpr std::size_t kSessionErrorCount = 5;
const char* to_string(SessionError error) noexcept;

// The invoke id after `last`. 0 is none, and there are no negative ones: CDAP has them in an int32,
// which rlite compares and counts up as it is.
constexpr std::int32_t next_invoke_id_after(std::int32_t last) noexcept {
    return last == std::numeric_limits<std::int32_t>::max() ? 1 : last + 1;
}

// The CDAP session with the neighbour at the other end of one N-1 flow: its state and the invoke
// ids, by the rules that rlite's receiver (CDAPConn there) enforces. Ours are the same, but for
// bounds.
class CdapSession {
  public:
    enum class State : std::uint8_t { idle, awaiting_answer, connected, closed };

    State state() const noexcept { return state_; }
    bool connected() const noexcept { return state_ == State::connected; }

    // ---- what we say: fills in what belongs to the session ----
    // M_CONNECT, also a repeated one; the answer to any of them counts.
    rina::CdapMessage connect(const rina::AppName& own, const rina::AppName& peer);
    // The answer to an M_CONNECT that received() let through; with a result other than 0 the
    // session stays idle.
    rina::CdapMessage answer_connect(const rina::CdapMessage& request, const rina::AppName& own,
                                     std::int32_t result, std::string_view reason);
    // An answer that leaves the session as it is: a challenge, or a no to who calls on a session
    // that is somebody's.
    rina::CdapMessage dismiss_connect(const rina::CdapMessage& request, const rina::AppName& own,
                                      std::int32_t result, std::string_view reason) const;
    // A request. Requests have ids also where nobody answers.
    rina::CdapMessage request(rina::OpCode op, std::string_view obj_class,
                              std::string_view obj_name, bool answered);
    rina::CdapMessage answer(const rina::CdapMessage& request, std::int32_t result,
                             std::string_view reason = {}) const;
    rina::CdapMessage release();

    // ---- what the peer says ----
    // Whether the message may be acted upon; moves the state.
    SessionError received(Instant now, const rina::CdapMessage& message);

    // From the start: ids, too, as the peer forgets them with the connection.
    void reset() noexcept;

  private:
    static constexpr Duration kIdRest = Duration::seconds(15);
    static constexpr std::size_t kSeenMax = 512;
    static constexpr std::size_t kPendingMax = 64;
    struct Seen {
        std::int32_t id = 0;
        Instant until{};
    };

    std::int32_t next_id(bool answered);
    bool seen_before(Instant now, std::int32_t id);

    State state_ = State::idle;
    std::int32_t last_id_ = 1;
    std::vector<std::int32_t> pending_;
    std::vector<std::int32_t> connects_;  // ids of our M_CONNECTs
    std::vector<Seen> seen_;              // a ring
    std::size_t seen_at_ = 0;
};

}  // namespace sluice::mgmt
