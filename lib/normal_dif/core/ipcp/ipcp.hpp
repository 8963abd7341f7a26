#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "base/instant.hpp"
#include "base/rng.hpp"
#include "normal_dif/core/ipcp/digest.hpp"
#include "normal_dif/core/ipcp/enrollment.hpp"
#include "normal_dif/core/ipcp/rib.hpp"
#include "normal_dif/core/mgmt/address_allocation.hpp"
#include "normal_dif/core/mgmt/dft.hpp"
#include "normal_dif/core/mgmt/flow_allocator.hpp"
#include "normal_dif/core/mgmt/lfdb.hpp"
#include "normal_dif/core/mgmt/neighbors.hpp"
#include "normal_dif/core/mgmt/routing.hpp"
#include "normal_dif/core/policy/params.hpp"
#include "rina/objects.hpp"

// The layer management of an IPC process of a normal DIF: who its neighbours are, what it knows of
// the DIF, and which routes follow. Pure: messages and the time come in, actions come out, in the
// order in which they must take effect.
namespace sluice::mgmt {

// A management PDU to whoever is at the other end of an N-1 flow.
struct SendToNeighbor {
    rmt::N1PortId port{};
    rina::Pci pci;
    rina::Bytes payload;
};
// One to a member of the DIF, by address: to be relayed like data.
struct SendToMember {
    rina::Pci pci;
    rina::Bytes payload;
};
// A flow of the lower DIF is wanted, to that name; answered with flow_up() or flow_failed().
struct AllocateLowerFlow {
    std::string lower_dif;
    std::string peer;
};
struct ReleaseLowerFlow {
    rmt::N1PortId port{};
};
struct PublishRoutes {
    std::vector<rmt::Route> routes;
};
// What comes from this N-1 port must have that source address: see rmt::Rmt::set_source().
struct AllowSource {
    rmt::N1PortId port{};
    rina::Address source{};
};
// From now on this is ours, and not the one before: another member may have that.
struct AddressChanged {
    rina::Address address{};
};
struct NeighborEvent {
    std::string neighbor;
    bool up = false;
    std::string why;
};
// Something that the operator should know of this member's policies and those of the DIF.
struct PolicyEvent {
    std::string component;
    std::string text;
};
// Those of the flow allocator are explained with it, see flow_allocator_actions.hpp.
using IpcpAction =
    std::variant<SendToNeighbor, SendToMember, AllocateLowerFlow, ReleaseLowerFlow, PublishRoutes,
                 AllowSource, AddressChanged, NeighborEvent, PolicyEvent, Bind, SetPeer, Drain,
                 Shut, Unbind, FlowRequested, FlowAllocated, FlowFailed, FlowDeallocated>;

struct IpcpConfig {
    std::string name;                        // in rlite's form
    std::string dif;
    std::vector<std::string> lower_difs;     // that it is registered in
    rina::Address address{1};
    bool first = false;                      // there is a DIF as soon as it is there
    bool enroller = true;                    // lets others join
    rina::PciFormat format = rina::kDefaultFormat;
    EnrollmentTimers timers;
    AuthConfig auth;  // of neighbours
    AddressConfig addresses;
    policy::Choice routing = "link-state";
    // How often neighbours of our own kind compare what they know of the DIF; 0: never.
    Duration sync = Duration::seconds(30);
    Duration reconnect = Duration::seconds(10);  // lost neighbours are called again; 0: never
    // From neighbours that are at the edge of the DIF only what has their address as source.
    bool check_sources = true;
    RoutingSchedule::Config routing_schedule;
    std::uint64_t seed = 1;
    // News is gathered for this long before others are told of it, in messages as large as rlite
    // can read. 0: at once, ten entries in a message, as rlite has it. In a large DIF much happens
    // at a time, and one message for each of it is what members are busy with.
    Duration gather{};
    // Where names and members are kept, for several IPC processes in one thread; it must outlive
    // them. nullptr: it has its own.
    SharedValues* shared = nullptr;
    // Greater than at each start before, for which the seconds of a wall clock do: then members at
    // the other side of the DIF notice that this one has begun anew, and end their flows with it.
    // 0: what it says of itself has no numbers, like rlite's.
    std::uint32_t start = 0;
    // The name and the format in it are taken from here.
    FlowAllocatorConfig flows;
    QosCubes cubes;
    policy::Choice admission = "none";
    // Port-ids are the application's, and may be shared by several IPC processes; CEP-ids may as
    // well, where data transfer finds connections by nothing else. Must outlive the IPC process.
    // nullptr: it has its own.
    IdPool* ports = nullptr;
    IdPool* ceps = nullptr;
};

// Why a management PDU was not acted upon.
enum class IpcpDrop : std::uint8_t {
    not_cdap,        // does not decode
    not_valid,       // rina::check() says what
    no_member,       // we are in no DIF yet
    forged_source,   // A_DATA whose PDU comes from another address, or from none
    unknown_object,
    bad_object,
    not_allowed,     // an operation or class that the object does not have
};
inline constexpr std::size_t kIpcpDropCount = 7;
const char* to_string(IpcpDrop drop) noexcept;

struct IpcpTunables;  // numbers that may change while it runs; see ipcp_parameters.cpp

// A list as the object that carries it.
template <typename List>
auto& entries_of(List& list) {
    if constexpr (requires { list.candidates; })
        return list.candidates;
    else if constexpr (requires { list.flows; })
        return list.flows;
    else
        return list.entries;
}
template <typename List>
using EntryOf = typename std::remove_cvref_t<decltype(
    entries_of(std::declval<List&>()))>::value_type;

class Ipcp final : private EnrollmentHost, private FlowDirectory {
  public:
    // EINVAL with one sentence. The secrets are not in config() afterwards.
    static Result<std::unique_ptr<Ipcp>> create(Instant now, IpcpConfig config);
    ~Ipcp() override;
    Ipcp(const Ipcp&) = delete;
    Ipcp& operator=(const Ipcp&) = delete;

    // ---- N-1 flows ----
    void flow_up(Instant now, rmt::N1PortId port, const std::string& lower_dif,
                 const std::string& peer);
    void flow_accepted(Instant now, rmt::N1PortId port, const std::string& lower_dif);
    void flow_failed(Instant now, const std::string& lower_dif, const std::string& peer);
    void flow_down(Instant now, rmt::N1PortId port);

    // A management PDU that arrived for us or for this hop; one that we sent to ourselves comes
    // back from kNoN1Port.
    void received(Instant now, rmt::N1PortId port, const rina::Pci& pci,
                  std::span<const std::byte> payload);

    // ---- operator ----
    // To join through `peer` (an IPC process, or the DIF's name), or to have another neighbour.
    Result<> enroll(Instant now, const std::string& lower_dif, const std::string& peer);
    Result<> disconnect(Instant now, const std::string& neighbor);
    void set_enroller(bool on) { enrollment_.set_enroller(on); }
    // All parameters, by component; those that cannot be changed while the IPC process runs are
    // among them, and each component's policy, as the parameter "policy".
    std::vector<policy::ParameterView> parameters() const;
    // ENOENT: there is no such parameter; EINVAL: a value that it cannot have; EBUSY: not while the
    // IPC process runs. Each with one sentence. No value: as it comes, or away with a numbered one.
    // next_deadline() may be another afterwards.
    Result<> set_parameter(Instant now, std::string_view component, std::string_view name,
                           std::string_view value);
    // With all its parameters: those that are not given are as they come.
    Result<> set_policy(Instant now, std::string_view component, std::string_view policy,
                        std::span<const policy::Param> params = {});
    // ---- applications ----
    void register_application(Instant now, const rina::AppName& name);
    void unregister_application(Instant now, const rina::AppName& name);
    // As FlowAllocator has them. ENOTCONN: we are in no DIF yet.
    Result<PortId> allocate_flow(Instant now, const rina::AppName& local,
                                 const rina::AppName& remote, const FlowSpec& spec,
                                 std::uint32_t cookie);
    Result<> accept_flow(Instant now, PortId port, std::uint32_t cookie);
    Result<> refuse_flow(Instant now, PortId port);
    Result<> deallocate_flow(Instant now, PortId port);

    void on_timeout(Instant now);
    Instant next_deadline();

    // What is to be done, since the last call.
    std::vector<IpcpAction> take_actions() { return std::exchange(actions_, {}); }

    // ---- to look at ----
    rina::Address address() const override { return address_; }
    bool is_member() const override { return member_; }
    const IpcpConfig& config() const noexcept { return config_; }
    const Enrollment& enrollment() const noexcept { return enrollment_; }
    // For SDU protection of an N-1 flow whose other end has authenticated itself.
    std::optional<SessionSecret> session_secret(rmt::N1PortId port) const noexcept {
        return enrollment_.session_secret(port);
    }
    const NeighborTable& members() const noexcept { return members_; }
    const Lfdb& lfdb() const noexcept { return lfdb_; }
    const Dft& dft() const noexcept { return dft_; }
    const AddressAllocator& addresses() const noexcept { return addresses_; }
    const FlowAllocator& flows() const noexcept { return flows_; }
    const std::vector<rmt::Route>& routes() const noexcept { return routes_; }
    const Rib& rib() const noexcept { return rib_; }
    std::uint64_t drops(IpcpDrop why) const noexcept {
        return drops_[static_cast<std::size_t>(why)];
    }
    std::uint64_t messages_sent() const noexcept { return messages_sent_; }
    // Because a neighbour's digest of them was another.
    std::uint64_t tables_told_again() const noexcept { return tables_told_again_; }

  private:
    Ipcp(Instant now, IpcpConfig config, std::unique_ptr<RoutingPolicy> routing,
         Authenticator auth);

    // EnrollmentHost
    std::vector<std::string> lower_difs() const override { return config_.lower_difs; }
    rina::DataTransferConstants constants() const override;
    Result<> check_constants(const rina::DataTransferConstants& theirs) const override;
    Result<> admit(const std::string& peer, bool as_new_member) const override;
    std::vector<Setting> settings() const override;
    Result<> obey_settings(Instant now, rmt::N1PortId port) override;
    void choose_address(Instant now, rmt::N1PortId port, const std::string& peer) override;
    void joined(Instant now, rina::Address address,
                const rina::DataTransferConstants& constants) override;
    void adjacency_up(Instant now, rmt::N1PortId port, const std::string& peer,
                      bool initiator) override;
    void adjacency_down(Instant now, rmt::N1PortId port, const std::string& peer,
                        AdjacencyEnd why, bool was_up, const std::string& detail) override;
    void object_message(Instant now, rmt::N1PortId port, const std::string& peer,
                        const rina::CdapMessage& message) override;
    void send(rmt::N1PortId port, rina::Address source, const rina::CdapMessage& message) override;
    void release_flow(rmt::N1PortId port) override;

    // FlowDirectory
    std::optional<std::string> ipcp_of(const rina::AppName& application,
                                       std::uint32_t pick) const override;
    std::optional<rina::Address> address_of(std::string_view ipcp) const override;
    bool is_registered_here(const rina::AppName& application) const override;
    bool is_sluice(std::string_view ipcp) const override;
    std::int32_t next_invoke_id() override;

    // ipcp_settings.cpp
    void add_settings();
    void on_setting(const rina::CdapMessage& message);
    Result<> check_setting(const Setting& setting) const;
    void obey(Instant now, const Setting& setting, const std::vector<Setting>& told);
    void obey_addresses(Instant now, const std::string& policy,
                        const std::vector<Setting>& told);
    void obey_routing(Instant now, const std::string& policy);
    void obey_nack_wait(Instant now, const std::string& value);

    // ipcp_parameters.cpp
    struct Component;
    static std::span<const Component> components();
    Result<> choose_routing(Instant now, policy::Choice choice);
    Result<> choose_addresses(Instant now, policy::Choice choice);
    Result<> choose_admission(Instant now, policy::Choice choice);
    Result<> choose_congestion(Instant now, policy::Choice choice);
    IpcpTunables tunables() const;
    Result<> tune(Instant now, const IpcpTunables& wanted);
    Result<> set_cube_parameter(std::string_view name, std::string_view value);

    // ipcp_news.cpp
    // To all neighbours but `from`, as the changes say; the object is the List's own.
    template <typename List, typename Object>
    void flood(Instant now, const Changes<Object>& changes, std::optional<rmt::N1PortId> from);
    template <typename List>
    void tell_held();
    void tell_all_held();
    template <typename List, typename Object>
    void tell(rmt::N1PortId port, rina::OpCode op, const std::vector<Object>& entries);
    void tell_table(Instant now, rmt::N1PortId port, std::size_t table);
    void begin_sync(Instant now, rmt::N1PortId port);
    const TableDigests& digests(Instant now);
    void send_digests(Instant now);
    void on_digests(const rina::CdapMessage& message);
    struct Sync;
    void compare(Instant now, rmt::N1PortId port, Sync& sync);

    void make_rib();
    template <typename List, typename Apply>
    void add_table(rina::RibName object, const char* help, Apply apply);
    // What a handler needs to know of the message it is called for.
    struct Context {
        Instant now{};
        rmt::N1PortId port{};
        std::string peer;
    };
    void carry_out(Instant now, const AddressAllocator::Output& out,
                   std::optional<rmt::N1PortId> from);
    void set_address(Instant now, rina::Address address);
    void members_changed(Instant now, const NeighborTable::Changed& changes,
                         std::optional<rmt::N1PortId> from);
    void routes_dirty(Instant now);
    void compute_routes(Instant now);
    void allow_sources();
    void allow_source(rmt::N1PortId port, rina::Address source);
    void on_a_data(Instant now, rmt::N1PortId port, const rina::Pci& pci,
                   const rina::CdapMessage& outer);
    // Of a member, nothing if its address is not the one that it may use there.
    std::optional<std::string> sender_of(rmt::N1PortId port, rina::Address source) const;
    void take_flow_actions();
    void send_a_data(rina::Address to, rina::CdapMessage message);
    void tick(Instant now);
    void member_restarted(Instant now, rmt::N1PortId port, const std::string& name);
    void call_again(Instant now);
    void bad(IpcpDrop why) noexcept { ++drops_[static_cast<std::size_t>(why)]; }

    IpcpConfig config_;
    Enrollment enrollment_;
    std::unique_ptr<SharedValues> own_values_;  // unless they are somebody else's
    NeighborTable members_;
    Lfdb lfdb_;
    Dft dft_;
    AddressAllocator addresses_;
    std::unique_ptr<RoutingPolicy> routing_;
    RoutingSchedule schedule_;
    std::unique_ptr<IdPool> own_ports_, own_ceps_;
    FlowAllocator flows_;
    FlowOutbox flow_out_;
    Rib rib_;
    Context context_;

    bool member_ = false;
    // Our operator has not set our address. Whatever the enroller says of those that we let in, of
    // two members with one address one has to take another.
    bool may_move_ = true;
    unsigned doubled_ticks_ = 0;  // in a row another member had our address, too
    rina::Address address_{};
    std::map<rmt::N1PortId, std::string> lower_of_;
    NeighborPorts ports_;                        // of neighbours that are up
    std::map<ClaimId, rmt::N1PortId> claims_;    // addresses for others
    std::optional<ClaimId> own_claim_;           // for us, since somebody else has ours
    // Neighbours that were lost and not dismissed, with where they can be reached.
    struct Lost {
        std::string lower_dif;
        Instant call_at{};
    };
    std::map<std::string, Lost> lost_;
    std::vector<rmt::Route> routes_;
    std::set<std::string, std::less<>> transits_;     // neighbours that lead on to others
    std::map<rmt::N1PortId, rina::Address> sources_;  // what may come, as told to data transfer
    Instant tick_at_{};
    // Of neighbours that are up: when to compare next, and what they are known to be.
    struct Sync {
        Instant at{};
        Instant tell_from{};  // no sooner again all of what differs
        unsigned unanswered = 0;
        // What it said last and was not compared yet, as our tables were changing.
        std::optional<TableDigests> theirs{};
        Instant heard{};
    };
    std::map<rmt::N1PortId, Sync> syncs_;
    std::optional<TableDigests> digests_;  // nothing: to be computed
    Instant changed_at_{};
    std::uint64_t tables_told_again_ = 0;
    // By ports of those who are enrolling us: what they have told of the DIF's policies.
    std::map<rmt::N1PortId, std::vector<Setting>> told_;
    std::vector<rmt::N1PortId> stale_;  // to neighbours that have begun anew; to be ended soon
    std::int32_t a_data_id_ = 2;  // rlite's first is 3
    // News that waits, in the order in which it came, and who told us.
    template <typename List>
    struct Held {
        struct News {
            rina::OpCode op;
            EntryOf<List> object;
            std::optional<rmt::N1PortId> from;
            bool over = false;
        };
        std::vector<News> news;
    };
    std::tuple<Held<rina::NeighborCandidateList>, Held<rina::LowerFlowList>, Held<rina::DftSlice>,
               Held<rina::AddrAllocEntries>>
        held_;
    Instant held_until_ = Instant::never();
    std::array<std::uint64_t, kIpcpDropCount> drops_{};
    std::uint64_t messages_sent_ = 0;
    std::vector<IpcpAction> actions_;
};

}  // namespace sluice::mgmt
