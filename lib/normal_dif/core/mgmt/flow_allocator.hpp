#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <queue>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/instant.hpp"
#include "base/result.hpp"
#include "base/rng.hpp"
#include "base/types.hpp"
#include "normal_dif/core/mgmt/admission.hpp"
#include "normal_dif/core/mgmt/flow_allocator_actions.hpp"
#include "normal_dif/core/mgmt/flow_policies.hpp"
#include "normal_dif/core/mgmt/flow_policies_consent.hpp"
#include "normal_dif/core/mgmt/id_pool.hpp"
#include "normal_dif/core/mgmt/interned.hpp"
#include "normal_dif/core/mgmt/qos_cubes.hpp"
#include "rina/objects.hpp"

// The flow allocator of one IPC process: makes flows between applications with the one at the other
// end, and takes them down. Its messages are those of rlite's local flow allocator
// (user/uipcps/uipcp-normal-flow-alloc.cpp there):
//
//   M_CREATE    the request, with the initiator's port-id and CEP-id
//   M_CREATE_R  the same request with the responder's; result -1: refused
//   M_DELETE    of the receiver's port-id, flow_del_wait after the application let go of the flow
//
// rlite sends each once and waits for no M_DELETE_R. A lost message leaves a flow at one end only
// then, for ever if it was an M_DELETE. So between our own nodes: an M_CREATE is sent again (a
// repeated one is answered the same again, and makes no second flow); an M_DELETE carries the
// flow's request as its value, so that it cannot hit another one that has got the port-id, and is
// sent again until the M_DELETE_R comes; and an initiator that gives up says so, with an M_DELETE
// of port-id kNoPort where it has not learnt the right one. To rlite that one names no flow of its
// own, and does nothing. And when news says that a member has begun anew, or has another address,
// it is asked with an M_READ whether it has the flow still: news may be late, and it may be forged.
namespace sluice::mgmt {

// What the allocator asks the rest of the IPC process.
class FlowDirectory {
  public:
    virtual ~FlowDirectory() = default;
    // The IPC process where the application is registered; of several, `pick` chooses.
    virtual std::optional<std::string> ipcp_of(const rina::AppName& application,
                                               std::uint32_t pick) const = 0;
    virtual std::optional<rina::Address> address_of(std::string_view ipcp) const = 0;
    virtual bool is_registered_here(const rina::AppName& application) const = 0;
    // Is it one of ours, as it says of itself? Then a message may be repeated.
    virtual bool is_sluice(std::string_view) const { return false; }
    // For messages by address. Not 0, none twice in 15 s.
    virtual std::int32_t next_invoke_id() = 0;
};

struct FlowAllocatorConfig {
    std::string ipcp;  // our own name
    rina::PciFormat format = rina::kDefaultFormat;
    rina::Emission emission = rina::Emission::as_rlite;
    FlowPolicyConfig policies;
    ExtensionConfig extensions;
    Duration allocation_timeout = Duration::seconds(5);
    // Shorter than that, so that the refusal still finds an initiator with the same patience.
    Duration accept_timeout = Duration::seconds(4);
    Duration flow_del_wait = Duration::seconds(4);
    Duration create_retry = Duration::seconds(1);
    Duration delete_retry = Duration::seconds(1);  // of questions, too; doubled each time
    unsigned deletes_max = 7;   // over a minute altogether
    unsigned questions_max = 4;  // whether a flow is there still; a quarter of a minute altogether
    unsigned cancels_max = 6;   // to whom may be rlite; over half a minute altogether
    // How long a repeated M_CREATE may be under way; as long as an invoke id must not come again.
    Duration duplicate_window = Duration::seconds(15);
    std::size_t flows_max = 60'000;
    std::size_t half_open_max = 64;         // requests of one member that wait for an application
    std::size_t flows_of_member_max = 60'000;
    std::size_t memories_max = 65'536;      // of ended flows, and messages without an answer
    bool refuse_without_cube = false;  // false: like rlite, which promises nothing but gives a flow
    std::uint32_t hop_count = 0;       // goes with requests; nobody forwards them (rlite: 0)
};

// Why a message of a peer had no effect, or only that of a refusal.
enum class FlowIgnored : std::uint8_t {
    bad_message,       // class, name, operation, value
    no_address,        // from address 0
    wrong_source,      // its IPC process has another address
    misdirected,       // for another IPC process
    bad_request,       // a FlowRequest that makes no sense
    unacceptable,      // policies that this end cannot do
    no_application,
    flood,             // over a limit
    no_admission,
    duplicate,
    stale,             // of a flow that has ended
    unknown_flow,
    not_the_peer,      // somebody else's flow
    changed_terms,     // the answer is none to what was asked
};
inline constexpr std::size_t kFlowIgnoredCount = 14;
std::string_view to_string(FlowIgnored reason) noexcept;

// Since the start.
struct FlowAllocatorStats {
    std::uint64_t requests_sent = 0, requests_received = 0;  // repeated ones received, too
    std::uint64_t allocated = 0, failed = 0, deallocated = 0;  // flows, at this end
    std::uint64_t creates_repeated = 0, deletes_repeated = 0, deletes_abandoned = 0;
    std::array<std::uint64_t, kFlowIgnoredCount> ignored{};

    std::uint64_t count(FlowIgnored reason) const noexcept {
        return ignored[static_cast<std::size_t>(reason)];
    }
};

enum class FlowState : std::uint8_t {
    asking,     // we wait for the peer's answer
    requested,  // the peer waits for our application's
    allocated,
    shut,       // the peer is gone, the user not yet
    closing,    // the user is gone, flow_del_wait runs
};
std::string_view to_string(FlowState state) noexcept;

struct FlowInfo {
    PortId port{};
    FlowState state = FlowState::asking;
    bool initiator = false;
    rina::CepId cep{};
    std::optional<rina::CepId> peer_cep;  // none until the peer has answered
    std::uint64_t peer_port = 0;          // 0 until then
    rina::Address peer{};                 // when the flow was made
    std::string peer_ipcp;
    rina::AppName local, remote;
    rina::QosId qos{};   // in its PDUs
    rina::QosId cube{};  // that it is admitted to
    std::uint64_t bandwidth_bps = 0;  // as asked for; 0: none
    bool extended = false;            // terms beyond rlite's
};

class FlowAllocator {
  public:
    static constexpr std::uint32_t kNoPort = 0xffffffff;

    // The pools may be shared with other IPC processes. They and the directory must outlive this.
    FlowAllocator(FlowAllocatorConfig config, QosCubes cubes, AnyAdmission admission,
                  IdPool& ports, IdPool& ceps, FlowDirectory& directory, Rng rng);
    // Gives the ids back to the pools, at the time of the last call.
    ~FlowAllocator();
    FlowAllocator(const FlowAllocator&) = delete;
    FlowAllocator& operator=(const FlowAllocator&) = delete;

    // ---- the user ----
    // Afterwards comes exactly one FlowAllocated or FlowFailed, unless the user deallocates first.
    // ENOENT: nobody has `remote`; EHOSTUNREACH: who has it has no address yet; EINVAL: no flow can
    // be like that; ENOTSUP: no cube promises it, and refuse_without_cube is set; EAGAIN: too many
    // flows, here or by the admission policy, or no id is free.
    Result<PortId> allocate(Instant now, const rina::AppName& local, const rina::AppName& remote,
                            const FlowSpec& spec, std::uint32_t cookie, FlowOutbox& out);
    // FlowAllocated follows at once. ENOENT: no such request (any more).
    Result<> accept(Instant now, PortId port, std::uint32_t cookie, FlowOutbox& out);
    Result<> refuse(Instant now, PortId port, FlowOutbox& out);
    // The port-id is the user's no more. ENOENT: it never was.
    Result<> deallocate(Instant now, PortId port, FlowOutbox& out);

    // ---- the peers ----
    // A message about a flow that came in A_DATA from `from`, whatever is in it.
    void on_message(Instant now, rina::Address from, const rina::CdapMessage& message,
                    FlowOutbox& out);
    void on_create(Instant now, rina::Address from, const rina::FlowRequest& request,
                   std::int32_t invoke_id, FlowOutbox& out);
    // `answer` is absent in some refusals of rlite.
    void on_create_r(Instant now, rina::Address from, const rina::FlowRequest* answer,
                     std::int32_t invoke_id, std::int32_t result, std::string_view reason,
                     FlowOutbox& out);
    // `flow` is absent when rlite says it.
    void on_delete(Instant now, rina::Address from, std::uint64_t port,
                   const rina::FlowRequest* flow, std::int32_t invoke_id, FlowOutbox& out);
    void on_delete_r(Instant now, rina::Address from, std::int32_t invoke_id);
    // Is that flow of the receiver's there? `flow` as in an M_DELETE.
    void on_read(rina::Address from, std::uint64_t port, const rina::FlowRequest* flow,
                 std::int32_t invoke_id, FlowOutbox& out);
    void on_read_r(Instant now, rina::Address from, std::int32_t invoke_id, std::int32_t result,
                   FlowOutbox& out);

    // ---- the rest of the IPC process ----
    // It has left the DIF, or started anew.
    void on_member_gone(Instant now, std::string_view ipcp, rina::Address member, FlowOutbox& out);
    // It has begun anew, or has another address than before: flows from then are gone, if it says
    // so or does not answer.
    void on_member_moved(Instant now, std::string_view ipcp, rina::Address address, bool restarted,
                         FlowOutbox& out);
    // We have another address, and no PDU for the one before comes to us.
    void on_own_move(Instant now, FlowOutbox& out);
    // Requests that wait for the application are refused; its flows stay.
    void on_unregister(Instant now, const rina::AppName& application, FlowOutbox& out);

    Instant next_deadline() noexcept;
    void on_timeout(Instant now, FlowOutbox& out);

    // ---- queries ----
    std::optional<FlowInfo> find(PortId port) const;
    template <typename F>
    void for_each(F&& f) const {
        for (const auto& [port, flow] : flows_) f(info(flow));
    }
    std::size_t flows() const noexcept { return flows_.size(); }
    // Of what is sent until it is answered: deletions, and questions whether a flow is there.
    std::size_t unanswered() const noexcept { return unanswered_.size(); }
    std::size_t members() const noexcept { return members_.size(); }
    // Different ones, of applications and IPC processes.
    std::size_t names() const noexcept { return app_names_.size() + ipcp_names_.size(); }
    const FlowAllocatorStats& stats() const noexcept { return stats_; }
    const QosCubes& cubes() const noexcept { return cubes_; }

    // ---- while it runs (flow_allocator_config.cpp) ----
    const FlowAllocatorConfig& config() const noexcept { return config_; }
    // Flows to come are made so. What waits now waits as long as it would have, had it been so when
    // that began. The name and the format stay.
    void set_config(Instant now, FlowAllocatorConfig config);
    // Flows keep the terms that they have. The ids must be the same ones.
    void set_cubes(QosCubes cubes) { cubes_ = std::move(cubes); }
    // Flows that there are stay, and count.
    void set_admission(AnyAdmission admission);

  private:
    // Only while the answer is awaited or the question may be repeated: most flows have none.
    struct Exchange {
        rina::FlowRequest request;
        rina::FlowRequest answer;  // of a responder, once it has answered
        std::optional<Offer> offer;
        Answer agreed;  // of a responder
        FlowTerms terms;
        Instant give_up{};
    };
    struct Names {
        const rina::AppName& local;
        const rina::AppName& remote;
        std::string_view peer_ipcp;
    };
    // A node may have a million of them: names are in tables, and the wide members come first.
    struct Flow {
        std::uint64_t serial = 0;
        std::uint64_t bandwidth_bps = 0;
        std::uint64_t nonce = 0;  // of the offer in its M_CREATE; 0: there was none
        rina::Address peer{};
        Instant deadline = Instant::never();
        std::unique_ptr<Exchange> exchange;
        PortId port{};
        std::uint32_t peer_port = 0;  // below kNoPort
        rina::CepId cep{};
        std::optional<rina::CepId> peer_cep;
        std::uint32_t cookie = 0;
        std::int32_t invoke_id = 0;  // of its M_CREATE
        AppNameTable::Id local = 0, remote = 0;
        NameId peer_ipcp = 0;
        rina::QosId qos{}, cube{};
        FlowState state = FlowState::asking;
        bool initiator = false;
        bool extended = false;
    };
    struct Member {
        std::size_t flows = 0;
        std::size_t half_open = 0;
        bool is_sluice = false;  // it has said something that rlite does not say
    };
    // An M_DELETE or an M_READ of ours, sent again until its answer comes.
    struct Unanswered {
        rina::Address to{};
        rina::CdapMessage message;
        unsigned sent = 1;  // times
        unsigned sent_max = 1;
        Instant deadline{};
        // Of an M_READ, the flow that it asks about; an M_DELETE's is gone.
        PortId flow{};
        std::uint64_t flow_serial = 0;  // 0: an M_DELETE

        bool is_question() const noexcept { return flow_serial != 0; }
    };
    // One request, for as long as something about it may still come.
    struct RequestKey {
        rina::Address member{};      // the other end
        std::uint64_t port = 0;      // the initiator's
        std::uint64_t identity = 0;  // the nonce of its offer, or else the invoke id
        bool ours = false;           // we were the initiator; then it is the invoke id
        bool operator==(const RequestKey&) const = default;
    };
    struct RequestHash {
        std::size_t operator()(const RequestKey& key) const noexcept;
    };
    // What a member calls a flow that it has asked for.
    struct PeerPort {
        rina::Address member{};
        std::uint64_t port = 0;
        bool operator==(const PeerPort&) const = default;
    };
    struct PeerPortHash {
        std::size_t operator()(const PeerPort& key) const noexcept;
    };
    struct Ended {
        Instant until{};
        RequestKey key;
    };
    struct Timer {
        Instant at{};
        // A port-id and the flow's serial number, or the invoke id of what is not answered.
        std::uint64_t id = 0;
        std::uint64_t serial = 0;  // 0: what is not answered
        bool operator>(const Timer& o) const noexcept { return at > o.at; }
    };
    struct Terms {
        FlowTerms terms;
        const QosCube* cube;
    };

    // user side (flow_allocator.cpp)
    Result<Terms> plan(const FlowSpec& spec) const;
    Result<Flow*> make_flow(Instant now, rina::Address peer, const Names& names,
                            const AdmissionRequest& admission);
    void ask(Instant now, Flow& flow, const Terms& terms, const FlowSpec& spec, FlowOutbox& out);
    void answer(Flow& flow, std::int32_t result, std::string_view reason, FlowOutbox& out);
    void fail_flow(Instant now, Flow& flow, rina::Reason reason, std::string_view text,
                   FlowOutbox& out);
    enum class Tell : std::uint8_t { nobody, cancelled, deleted };
    void stop_asking(Instant now, Flow& flow, Tell tell, FlowOutbox& out);
    void unbind(Instant now, Flow& flow, FlowOutbox& out);
    void close(Instant now, Flow& flow, FlowOutbox& out);
    void forget(Instant now, Flow& flow);
    void leave_member(rina::Address address);
    void no_longer_half_open(Flow& flow);

    // what is said until it is answered, timers (flow_allocator.cpp)
    void say_deleted(Instant now, const Flow& flow, FlowOutbox& out);
    void cancel(Instant now, const Flow& flow, FlowOutbox& out);
    void send_deletes(Instant now, const Flow& flow, std::uint64_t port, unsigned times,
                      FlowOutbox& out);
    void send_delete(Instant now, rina::Address to, std::uint64_t port,
                     const rina::FlowRequest* value, unsigned times, FlowOutbox& out);
    Unanswered* send_again_until_answered(Instant now, rina::Address to,
                                          const rina::CdapMessage& message, unsigned times);
    rina::FlowRequest identity_of(const Flow& flow) const;
    void set_deadline(Flow& flow, Instant at);
    void on_flow_timeout(Instant now, Flow& flow, FlowOutbox& out);
    void on_unanswered_timeout(Instant now, std::int32_t invoke_id, FlowOutbox& out);
    bool is_current(const Timer& timer) const noexcept;
    void prune_timers() noexcept;

    // peer side (flow_allocator_peer.cpp)
    std::optional<FlowIgnored> fault_of(rina::Address from,
                                        const rina::FlowRequest& request) const;
    std::optional<Offer> offer_of(const rina::FlowRequest& request) const;
    bool is_repeated(Instant now, rina::Address from, const rina::FlowRequest& request,
                     std::int32_t invoke_id, FlowOutbox& out);
    void open(Instant now, rina::Address from, const rina::FlowRequest& request,
              std::int32_t invoke_id, FlowOutbox& out);
    void refuse_request(rina::Address to, rina::FlowRequest request, std::int32_t invoke_id,
                        FlowIgnored why, FlowOutbox& out);
    void late_answer(Instant now, rina::Address from, const rina::FlowRequest& answer,
                     std::int32_t invoke_id, FlowOutbox& out);
    bool is_answer_to(const Flow& flow, const rina::FlowRequest& answer) const;
    void accepted(Instant now, rina::Address from, Flow& flow, const rina::FlowRequest& answer,
                  FlowOutbox& out);
    void ask_whether_there(Instant now, const Flow& flow, FlowOutbox& out);
    void not_there(Instant now, const Unanswered& question, bool answered, FlowOutbox& out);
    void peer_gone(Instant now, Flow& flow, rina::Reason reason, FlowOutbox& out);
    Flow* find_deleted(Instant now, rina::Address from, std::uint64_t port,
                       const rina::FlowRequest* value);
    static bool is_about(const Flow& flow, const rina::FlowRequest& value);
    bool is_from(const Flow& flow, rina::Address from) const;
    bool is_sluice(const Flow& flow) const;
    void prove(rina::Address member) { members_[member].is_sluice = true; }

    Flow* flow_at(PortId port) noexcept;
    Flow* incoming(rina::Address member, std::uint64_t port) noexcept;
    std::vector<PortId> ports_where(const std::function<bool(const Flow&)>& is_wanted) const;
    void forget_incoming(const Flow& flow);
    Names names_of(const Flow& flow) const;
    rina::Address address_of(const Flow& flow) const;
    AdmissionRequest admission_of(const Flow& flow) const;
    static RequestKey key_of(const Flow& flow) noexcept;
    void remember(Instant now, const RequestKey& key);
    bool has_ended(Instant now, const RequestKey& key);
    void ignore(FlowIgnored why) noexcept { ++stats_.ignored[static_cast<std::size_t>(why)]; }
    rina::CdapMessage message(rina::OpCode op, std::int32_t invoke_id,
                              const rina::FlowRequest* value) const;
    FlowInfo info(const Flow& flow) const;

    FlowAllocatorConfig config_;
    QosCubes cubes_;
    AnyAdmission admission_;
    IdPool& ports_;
    IdPool& ceps_;
    FlowDirectory& directory_;
    Rng rng_;
    FlowAllocatorStats stats_;
    Instant last_{};
    std::uint64_t next_serial_ = 1;

    AppNameTable app_names_;
    NameTable ipcp_names_;
    std::unordered_map<PortId, Flow> flows_;
    std::unordered_map<std::int32_t, PortId> asked_;  // by the invoke id
    std::unordered_map<PeerPort, PortId, PeerPortHash> incoming_;
    std::unordered_map<rina::Address, Member> members_;
    std::unordered_map<std::int32_t, Unanswered> unanswered_;  // by the invoke id
    std::deque<Ended> ended_order_;
    std::unordered_map<RequestKey, Instant, RequestHash> ended_;
    std::priority_queue<Timer, std::vector<Timer>, std::greater<>> timers_;
};

}  // namespace sluice::mgmt
