#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/instant.hpp"
#include "normal_dif/core/ipcp/authentication.hpp"
#include "normal_dif/core/ipcp/cdap_session.hpp"
#include "normal_dif/core/rmt/n1_port.hpp"
#include "rina/objects.hpp"
#include "rina/pci.hpp"

// Joining a DIF, and staying joined: what passes between two neighbours over one N-1 flow from
// M_CONNECT to M_RELEASE, in the order of rlite (uipcp-normal-enroll.cpp there). Either side of it.
//
//   enrollee                                enroller
//   M_CONNECT                       ->
//                                   <-      M_CONNECT_R
//   M_START enrollment              ->                      (picks an address, which may take time)
//                                   <-      M_START_R: address, constants of the DIF
//                                   <-      M_WRITE: policies and parameters
//                                   <-      M_STOP
//   M_STOP_R                        ->                      from here on the enrollee is a member
//                                   <-      M_START operational_status
//   both tell each other their neighbours, links, applications and addresses
//
// Who is a member already says M_START lowerflow instead, and the middle is left out. With
// authentication (ipcp/authentication.hpp) there are two M_CONNECTs, and two answers.
namespace sluice::mgmt {

// Why there is no adjacency any more, or none came about.
enum class AdjacencyEnd : std::uint8_t {
    released,        // the peer left, cleanly: it is not to be called back
    disconnected,    // we left
    unresponsive,    // it did not answer keepalives or a step of the enrollment in time
    restarted,       // the peer began anew
    lower_flow_down,
    refused,         // by either side
    incompatible,    // constants of the DIF that we cannot do
    protocol_error,  // a message that has no place there
    unauthenticated, // either side did not prove who it is, or did not believe the other
};
const char* to_string(AdjacencyEnd end) noexcept;

// What a neighbour's enrollment needs of the rest of the IPC process. Called from within the
// machine, so these must not call it back; choose_address() may answer at once, and from
// adjacency_up() on send_request() is possible.
class EnrollmentHost {
  public:
    virtual ~EnrollmentHost() = default;

    virtual rina::Address address() const = 0;
    virtual bool is_member() const = 0;  // of the DIF: enrolled, or its first
    virtual std::vector<std::string> lower_difs() const = 0;
    virtual rina::DataTransferConstants constants() const = 0;
    // EPROTO with what does not fit.
    virtual Result<> check_constants(const rina::DataTransferConstants& theirs) const = 0;
    // May this one become a member, or a neighbour again? EACCES with the reason.
    virtual Result<> admit(const std::string& peer, bool as_new_member) const = 0;
    // Policies and parameters that a new member is told, as M_WRITEs: class, name, value.
    struct Setting {
        std::string obj_class, obj_name, value;
    };
    virtual std::vector<Setting> settings() const = 0;
    // Those that the enroller told us, each an object_message() while we received them: to be
    // obeyed, since we are about to become a member. EPROTO with what we cannot do.
    virtual Result<> obey_settings(Instant, rmt::N1PortId) { return {}; }

    // An address for a new member is wanted: address_chosen() or refuse_address(), now or later.
    virtual void choose_address(Instant now, rmt::N1PortId port, const std::string& peer) = 0;
    // We are a member now. 0: keep the address that we have.
    virtual void joined(Instant now, rina::Address address,
                        const rina::DataTransferConstants& constants) = 0;
    virtual void adjacency_up(Instant now, rmt::N1PortId port, const std::string& peer,
                              bool initiator) = 0;
    // `was_up`: adjacency_up() had been called for it.
    virtual void adjacency_down(Instant now, rmt::N1PortId port, const std::string& peer,
                                AdjacencyEnd why, bool was_up, const std::string& detail) = 0;
    // A message about an object that is none of ours, from a neighbour that may send it.
    virtual void object_message(Instant now, rmt::N1PortId port, const std::string& peer,
                                const rina::CdapMessage& message) = 0;
    // To whoever is at the other end, from `source`.
    virtual void send(rmt::N1PortId port, rina::Address source,
                      const rina::CdapMessage& message) = 0;
    // The flow is not needed any more.
    virtual void release_flow(rmt::N1PortId port) = 0;
};

struct EnrollmentTimers {
    // rlite's enroller takes 4 s to be sure of an address; its own limit of 7 s is for one step.
    Duration step = Duration::seconds(10);
    // After a clean release rlite answers again only after up to 14 s.
    Duration connect_retry = Duration::seconds(2);
    unsigned connect_tries = 12;
    Duration keepalive = Duration::seconds(20);  // 0: none
    unsigned keepalive_threshold = 3;            // unanswered ones
};

enum class EnrollmentDrop : std::uint8_t {
    session,        // see SessionError
    unknown_port,
    wrong_name,     // M_CONNECT for somebody else
    no_enroller,
    bad_object,     // an object that does not decode, or with fields missing
    out_of_place,   // a step that does not follow the one before
    authentication, // see AuthError
};
inline constexpr std::size_t kEnrollmentDropCount = 7;

class Enrollment {
  public:
    struct Options {
        rina::AppName name;      // of this IPC process
        std::string dif;         // may be connected to by that name, too
        bool enroller = true;    // lets others join
        EnrollmentTimers timers;
        Authenticator auth{};    // what is asked of neighbours, and of us
    };
    Enrollment(Options options, EnrollmentHost& host);

    // ---- N-1 flows ----
    // One that we asked for, to talk to `peer` (an IPC process, or the DIF if any will do).
    void flow_up(Instant now, rmt::N1PortId port, const std::string& peer);
    // One that somebody else asked for, who will say who it is.
    void flow_accepted(Instant now, rmt::N1PortId port);
    void flow_down(Instant now, rmt::N1PortId port);

    // A message that came over that flow and is addressed to this hop.
    void received(Instant now, rmt::N1PortId port, const rina::CdapMessage& message);

    // ---- answers of the host ----
    void address_chosen(Instant now, rmt::N1PortId port, rina::Address address);
    void refuse_address(Instant now, rmt::N1PortId port, const std::string& reason);

    // ---- operator ----
    void disconnect(Instant now, rmt::N1PortId port);
    void set_enroller(bool on) noexcept { options_.enroller = on; }
    bool is_enroller() const noexcept { return options_.enroller; }
    const EnrollmentTimers& timers() const noexcept { return options_.timers; }
    // What is waited for now is waited for as long as it would have been, had it been so when that
    // began.
    void set_timers(Instant now, const EnrollmentTimers& timers);

    void on_timeout(Instant now);
    Instant next_deadline() const noexcept;

    // A request about an object to a neighbour that is up.
    bool send_request(rmt::N1PortId port, rina::OpCode op, rina::RibName object,
                      rina::ObjValue value);

    // ---- to look at ----
    enum class Step : std::uint8_t {
        accepted,        // waits for the peer's M_CONNECT
        connecting,      // M_CONNECT sent
        starting,        // M_START sent
        receiving,       // M_START_R came; M_STOP is to come
        connected,       // answered M_CONNECT; M_START is to come
        choosing,        // an address for the peer
        stopping,        // M_STOP sent
        up,
    };
    struct View {
        rmt::N1PortId port{};
        std::string peer;
        Step step = Step::accepted;
        bool initiator = false;
        unsigned unanswered = 0;
    };
    std::vector<View> adjacencies() const;
    bool is_up(rmt::N1PortId port) const noexcept;
    // Is the other end about to make us a member, and telling us what members must know?
    bool is_receiving(rmt::N1PortId port) const noexcept;
    const std::array<std::uint64_t, kEnrollmentDropCount>& drops() const noexcept {
        return drops_;
    }
    const std::array<std::uint64_t, kSessionErrorCount>& session_errors() const noexcept {
        return session_errors_;
    }
    const std::array<std::uint64_t, kAuthErrorCount>& auth_errors() const noexcept {
        return auth_errors_;
    }
    // Of a session that was authenticated; from the end of the handshake on.
    std::optional<SessionSecret> session_secret(rmt::N1PortId port) const noexcept;

  private:
    struct Adjacency {
        rmt::N1PortId port{};
        std::string peer;       // as it was asked for; from M_CONNECT_R on its real name
        CdapSession session;
        Step step = Step::accepted;
        bool initiator = false;
        bool new_member = false;          // M_START enrollment, not lowerflow
        Instant deadline = Instant::never();
        Instant probe_at = Instant::never();
        unsigned tries = 0;
        unsigned unanswered = 0;
        std::optional<rina::CdapMessage> start;  // the M_START that choose_address() was for
        rina::Address offered{};
        std::optional<rina::DataTransferConstants> constants;
        AuthExchange auth;     // ours as the initiator, then that of the session
        AuthExchange offered_auth;  // the challenge that a caller has not answered yet
    };
    using Iterator = std::map<rmt::N1PortId, Adjacency>::iterator;

    void on_connect(Instant now, Iterator it, const rina::CdapMessage& m);
    // With authentication.
    void authenticate(Instant now, Iterator it, const std::string& peer,
                      const rina::CdapMessage& m);
    void accept_authenticated(Instant now, Adjacency& a, const std::string& peer,
                              const rina::CdapMessage& m);
    void refuse_unauthenticated(Instant now, Iterator it, AuthError why,
                                const rina::CdapMessage& m);
    void on_connect_again(Instant now, Iterator it, const rina::CdapMessage& m);
    void on_authenticated_answer(Instant now, Iterator it, const rina::CdapMessage& m);
    void on_connect_answer(Instant now, Iterator it, const rina::CdapMessage& m);
    void on_enrollment(Instant now, Iterator it, const rina::CdapMessage& m);
    void on_start(Instant now, Iterator it, const rina::CdapMessage& m);
    void on_start_answer(Instant now, Iterator it, const rina::CdapMessage& m);
    void on_stop(Instant now, Iterator it, const rina::CdapMessage& m);
    void on_stop_answer(Instant now, Iterator it, const rina::CdapMessage& m);
    void on_lower_flow(Instant now, Iterator it, const rina::CdapMessage& m);
    void on_keepalive(Instant now, Adjacency& a, const rina::CdapMessage& m);
    void connect(Instant now, Adjacency& a);
    void start(Instant now, Adjacency& a);
    void up(Instant now, Adjacency& a);
    void end(Instant now, Iterator it, AdjacencyEnd why, const std::string& detail);
    void restart(Instant now, Adjacency& a);
    void send(const Adjacency& a, const rina::CdapMessage& m) {
        host_.send(a.port, host_.address(), m);
    }
    void drop(EnrollmentDrop why) noexcept { ++drops_[static_cast<std::size_t>(why)]; }
    void drop(AuthError why) noexcept {
        drop(EnrollmentDrop::authentication);
        ++auth_errors_[static_cast<std::size_t>(why)];
    }

    Options options_;
    EnrollmentHost& host_;
    std::map<rmt::N1PortId, Adjacency> adjacencies_;
    std::array<std::uint64_t, kEnrollmentDropCount> drops_{};
    std::array<std::uint64_t, kSessionErrorCount> session_errors_{};
    std::array<std::uint64_t, kAuthErrorCount> auth_errors_{};
};

}  // namespace sluice::mgmt
