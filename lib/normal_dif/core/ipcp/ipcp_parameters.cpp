#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <type_traits>
#include <utility>

#include "normal_dif/core/ipcp/ipcp.hpp"

// Parameters and policies of a running IPC process: what there is, what it is set to, and how to
// change it. To add
// - a number: a field where it is used, a line in kKnobs, and a test;
// - a parameter of a policy: a line in the policy's factory, which is asked what there is;
// - a policy: a line in the list of its policy point, beside the code. Nothing here.
namespace sluice::mgmt {

using policy::Choice;
using policy::Known;

// A copy of all numbers: changed, judged together, and put back to where they came from.
struct IpcpTunables {
    EnrollmentTimers timers;
    bool enroller = true;
    Duration sync{}, reconnect{}, gather{};
    bool check_sources = true;
    RoutingSchedule::Config schedule;
    ReplicationTimes links, directory;
    NeighborLimits members;
    FlowAllocatorConfig flows;
};

namespace {

using T = IpcpTunables;

// ---- numbers -----------------------------------------------------------------------------------

template <auto First, auto... Rest>
constexpr auto& field(auto& object) {
    if constexpr (sizeof...(Rest) == 0)
        return object.*First;
    else
        return field<Rest...>(object.*First);
}

struct Knob {
    std::string_view component, name;
    std::uint64_t low, high;
    std::string_view help;
    std::uint64_t (*get)(const IpcpTunables&);
    void (*set)(IpcpTunables&, std::uint64_t);
};

// A field by the way to it. Durations count in units of so many ns; the name says which.
template <std::int64_t kUnit, auto... kPath>
std::uint64_t number_at(const IpcpTunables& t) {
    const auto& at = field<kPath...>(t);
    if constexpr (requires { at.ns; })
        return static_cast<std::uint64_t>(at.ns / kUnit);
    else
        return static_cast<std::uint64_t>(at);
}
template <std::int64_t kUnit, auto... kPath>
void set_number_at(IpcpTunables& t, std::uint64_t value) {
    auto& at = field<kPath...>(t);
    if constexpr (requires { at.ns; })
        at.ns = static_cast<std::int64_t>(value) * kUnit;
    else
        at = static_cast<std::remove_cvref_t<decltype(at)>>(value);
}
template <std::int64_t kUnit, auto... kPath>
consteval Knob knob(std::string_view component, std::string_view name, std::uint64_t low,
                    std::uint64_t high, std::string_view help) {
    return {component, name, low, high, help, number_at<kUnit, kPath...>,
            set_number_at<kUnit, kPath...>};
}

constexpr std::int64_t kOne = 1, kMs = 1'000'000, kSecond = 1'000'000'000;
constexpr std::uint64_t kHour = 3600, kDay = 86400;  // seconds

using Timers = EnrollmentTimers;
using Flows = FlowAllocatorConfig;
using Times = ReplicationTimes;
using Efcp = FlowPolicyConfig;

constexpr Knob kKnobs[] = {
    knob<kMs, &T::reconnect>("enrollment", "reconnect_ms", 0, kHour * 1000,
                             "lost neighbours are called again so often; 0: never"),
    knob<kOne, &T::enroller>("enrollment", "enroller", 0, 1, "lets others join"),
    knob<kMs, &T::timers, &Timers::step>("enrollment", "step_ms", 1000, kHour * 1000,
                                         "one step may take so long; rlite waits for 7000"),
    knob<kMs, &T::timers, &Timers::connect_retry>("enrollment", "connect_retry_ms", 100, 60'000,
                                                  "between one M_CONNECT and the next"),
    knob<kOne, &T::timers, &Timers::connect_tries>("enrollment", "connect_tries", 1, 1000,
                                                   "M_CONNECTs without an answer"),
    knob<kMs, &T::timers, &Timers::keepalive>("enrollment", "keepalive_ms", 0, kHour * 1000,
                                              "neighbours are asked so often; 0: never"),
    knob<kOne, &T::timers, &Timers::keepalive_threshold>(
        "enrollment", "keepalive_threshold", 1, 100,
        "unanswered keepalives, and one more is the end"),

    knob<kMs, &T::sync>("replication", "sync_ms", 0, kHour * 1000,
                        "neighbours compare tables so often, in steps of 10 s; 0: never"),
    knob<kMs, &T::gather>("replication", "gather_ms", 0, 10'000,
                          "news waits for more to go with it; 0: it does not"),
    knob<kSecond, &T::links, &Times::age_max>(
        "replication", "links_age_max_s", 30, kDay,
        "link states of others that are not renewed are removed"),
    knob<kSecond, &T::links, &Times::renew_age>("replication", "links_renew_age_s", 10, kDay,
                                                "own link states get their next number"),
    knob<kSecond, &T::links, &Times::refresh>("replication", "links_refresh_s", 10, kHour,
                                              "own link states are told to neighbours"),
    knob<kSecond, &T::links, &Times::removal_memory>("replication", "links_removal_memory_s", 1,
                                                     kHour, "removed ones are remembered"),
    knob<kSecond, &T::directory, &Times::renew_age>("replication", "directory_renew_age_s", 10,
                                                    kDay, "own registrations get a new number"),
    knob<kSecond, &T::directory, &Times::refresh>("replication", "directory_refresh_s", 10, kHour,
                                                  "own registrations are told to neighbours"),
    knob<kSecond, &T::directory, &Times::removal_memory>(
        "replication", "directory_removal_memory_s", 1, kHour, "removed ones are remembered"),
    knob<kSecond, &T::members, &NeighborLimits::refresh>(
        "replication", "members_refresh_s", 10, kHour, "our own entry is told to neighbours"),
    knob<kSecond, &T::members, &NeighborLimits::no_return>(
        "replication", "members_no_return_s", 1, kHour, "an entry does not go back meanwhile"),

    knob<kOne, &T::schedule, &RoutingSchedule::Config::small_nodes_max>(
        "routing", "at_once_nodes_max", 0, 1'000'000, "members up to which routes follow at once"),
    knob<kMs, &T::schedule, &RoutingSchedule::Config::interval>(
        "routing", "interval_ms", 0, 600'000, "from one time to the next in larger DIFs"),

    knob<kOne, &T::check_sources>("routing", "check_sources", 0, 1,
                                  "from neighbours at the edge nothing that is not theirs"),

    knob<kMs, &T::flows, &Flows::allocation_timeout>("flow-allocation", "allocation_timeout_ms",
                                                     100, 600'000, "for the peer's answer"),
    knob<kMs, &T::flows, &Flows::accept_timeout>(
        "flow-allocation", "accept_timeout_ms", 100, 600'000,
        "for the application's; less than the initiator's timeout"),
    knob<kMs, &T::flows, &Flows::flow_del_wait>("flow-allocation", "flow_del_wait_ms", 0, 600'000,
                                                "a closed flow drains"),
    knob<kMs, &T::flows, &Flows::create_retry>("flow-allocation", "create_retry_ms", 100, 60'000,
                                               "between one M_CREATE and the next"),
    knob<kMs, &T::flows, &Flows::delete_retry>("flow-allocation", "delete_retry_ms", 100, 60'000,
                                               "to the second M_DELETE; then doubled"),
    knob<kOne, &T::flows, &Flows::deletes_max>("flow-allocation", "deletes_max", 1, 30,
                                               "M_DELETEs without an answer"),
    knob<kOne, &T::flows, &Flows::cancels_max>("flow-allocation", "cancels_max", 1, 30,
                                               "the same, to whom may be rlite"),
    knob<kOne, &T::flows, &Flows::questions_max>(
        "flow-allocation", "questions_max", 1, 30,
        "M_READs of a flow whose member is said to have begun anew"),
    // Invoke ids do not come again for 15 s.
    knob<kMs, &T::flows, &Flows::duplicate_window>("flow-allocation", "duplicate_window_ms",
                                                   15'000, 600'000,
                                                   "repeated requests are known for so long"),
    knob<kOne, &T::flows, &Flows::flows_max>("flow-allocation", "flows_max", 0, 100'000,
                                             "of this IPC process"),
    knob<kOne, &T::flows, &Flows::flows_of_member_max>(
        "flow-allocation", "flows_of_member_max", 0, 100'000, "that one member may have begun"),
    knob<kOne, &T::flows, &Flows::half_open_max>(
        "flow-allocation", "half_open_max", 0, 100'000,
        "requests of one member that wait for an application"),
    knob<kOne, &T::flows, &Flows::memories_max>("flow-allocation", "memories_max", 0, 10'000'000,
                                                "ended flows, and messages without an answer"),
    knob<kOne, &T::flows, &Flows::refuse_without_cube>(
        "flow-allocation", "refuse_without_cube", 0, 1,
        "flows that no QoS cube promises; rlite makes them"),
    knob<kOne, &T::flows, &Flows::extensions, &ExtensionConfig::offered>(
        "flow-allocation", "extensions", 0, 1, "offers more than rlite can do"),
    knob<kOne, &T::flows, &Flows::extensions, &ExtensionConfig::credit>(
        "flow-allocation", "extended_credit", 1, 65'536, "PDUs, with large windows"),

    knob<kOne, &T::flows, &Flows::policies, &Efcp::force_flow_control>(
        "efcp", "force_flow_control", 0, 1, "of every flow, not only of reliable ones"),
    knob<kOne, &T::flows, &Flows::policies, &Efcp::window, &efcp::WindowPolicy::initial_credit>(
        "efcp", "credit", 1, 65'536, "PDUs of the first window"),
    knob<kOne, &T::flows, &Flows::policies, &Efcp::window, &efcp::WindowPolicy::closed_queue_max>(
        "efcp", "closed_queue_max", 1, 65'536, "PDUs that wait for the window to open"),
    knob<kMs, &T::flows, &Flows::policies, &Efcp::retransmission,
         &efcp::RetransmissionPolicy::initial_timeout>("efcp", "rtx_timeout_ms", 1, 60'000,
                                                       "before a round trip was measured"),
    knob<kOne, &T::flows, &Flows::policies, &Efcp::retransmission,
         &efcp::RetransmissionPolicy::retries_max>("efcp", "rtx_retries_max", 1, 100,
                                                   "of one PDU"),
    knob<kMs, &T::flows, &Flows::policies, &Efcp::a_timer>("efcp", "a_timer_ms", 0, 60'000,
                                                           "acknowledgements wait at most so long"),
    knob<kMs, &T::flows, &Flows::policies, &Efcp::mpl>("efcp", "mpl_ms", 1, 600'000,
                                                       "the longest that a PDU lives"),
    knob<kOne, &T::flows, &Flows::policies, &Efcp::send_queue_max>(
        "efcp", "send_queue_max", 1, 65'536, "PDUs that the user may be ahead"),
};

const Knob* find_knob(std::string_view component, std::string_view name) {
    for (const Knob& knob : kKnobs)
        if (knob.component == component && knob.name == name) return &knob;
    return nullptr;
}

// ---- QoS cubes ---------------------------------------------------------------------------------

constexpr std::string_view kCubes = "qos-cubes";
constexpr std::string_view kUnset = "unset";

template <typename N>
bool read_number(std::string_view text, N& out) {
    std::int64_t sign = 0;
    std::uint64_t number = 0;
    if (policy::parse_number(text, number)) {
        if (number > static_cast<std::uint64_t>(std::numeric_limits<N>::max())) return false;
        out = static_cast<N>(number);
        return true;
    }
    if constexpr (std::is_signed_v<N>) {
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), sign);
        if (error != std::errc{} || end != text.data() + text.size() || sign < -1) return false;
        out = static_cast<N>(sign);
        return true;
    }
    return false;
}

template <typename V>
std::string text_of(const V& value) {
    if constexpr (requires { value.has_value(); })
        return value ? text_of(*value) : std::string(kUnset);
    else
        return fmt::to_string(+value);
}

template <typename V>
bool read(std::string_view text, V& out) {
    if constexpr (requires { out.has_value(); }) {
        if (text == kUnset) {
            out.reset();
            return true;
        }
        typename V::value_type value{};
        if (!read(text, value)) return false;
        out = value;
        return true;
    } else if constexpr (std::is_same_v<V, bool>) {
        out = text == "1";
        return text == "0" || text == "1";
    } else {
        return read_number(text, out);
    }
}

struct CubeField {
    std::string_view name, range, help;
    std::string (*get)(const QosCube&);
    bool (*set)(QosCube&, std::string_view);
};

template <auto kMember>
std::string text_at(const QosCube& cube) {
    return text_of(cube.*kMember);
}
template <auto kMember>
bool read_at(QosCube& cube, std::string_view text) {
    return read(text, cube.*kMember);
}
template <auto kMember>
consteval CubeField cube_field(std::string_view name, std::string_view range,
                               std::string_view help) {
    return {name, range, help, text_at<kMember>, read_at<kMember>};
}

constexpr CubeField kCubeFields[] = {
    cube_field<&QosCube::delay_us>("delay_us", "unset, or up to 4294967295", "promised at most"),
    cube_field<&QosCube::jitter_us>("jitter_us", "unset, or up to 4294967295",
                                    "promised at most"),
    cube_field<&QosCube::loss>("loss", "0 to 10000", "in 10000, without retransmission"),
    cube_field<&QosCube::bandwidth_bps_min>("min_bps", "0 to min_bps",
                                            "the least that a flow may ask for"),
    cube_field<&QosCube::bandwidth_bps_max>("max_bps", "min_bps to 18446744073709551615",
                                            "the most that a flow may ask for"),
    cube_field<&QosCube::sdu_gap_max>("sdu_gap_max", "unset (as asked), or -1 (any) or more",
                                      "lost SDUs in a row, of every flow"),
    cube_field<&QosCube::in_order>("in_order", "unset (as asked), 0 or 1", "of every flow"),
};

// ---- policies ----------------------------------------------------------------------------------

template <typename List>
std::vector<std::string> names_in(const List& list) {
    std::vector<std::string> out;
    for (const auto& one : list) out.emplace_back(one.name);
    return out;
}

// What the factory of a policy asks for.
template <typename List>
std::vector<Known> known_in(const List& list, const Choice& choice) {
    const auto given = choice.given();
    for (const auto& one : list) {
        if (one.name != choice.name) continue;
        policy::Params params(choice.name, given);
        static_cast<void>(one.make(params));
        return params.known();
    }
    return {};
}

std::vector<Known> none_known(const Choice&) { return {}; }

// "route.N" is what "route.3" is one of.
bool is_known(const std::vector<Known>& known, std::string_view name) {
    return std::any_of(known.begin(), known.end(), [&](const Known& one) {
        return one.key == name ||
               (one.key.ends_with(".N") &&
                name.starts_with(std::string_view(one.key).substr(0, one.key.size() - 1)));
    });
}

}  // namespace

struct Ipcp::Component {
    std::string_view name, help;
    Choice (*chosen)(const Ipcp&);
    std::vector<std::string> (*names)();
    std::vector<Known> (*parameters)(const Choice&);
    Result<> (Ipcp::*choose)(Instant, Choice);  // nullptr: not while it runs
};

std::span<const Ipcp::Component> Ipcp::components() {
    static constexpr Component kComponents[] = {
        {"routing", "which neighbour leads to a member",
         [](const Ipcp& ipcp) { return ipcp.config_.routing; },
         [] { return names_in(routing_policies()); },
         [](const Choice& choice) { return known_in(routing_policies(), choice); },
         &Ipcp::choose_routing},
        {"address-allocation", "which address a new member gets",
         [](const Ipcp& ipcp) {
             const AddressConfig& config = ipcp.config_.addresses;
             Choice choice{std::string(to_string(config.policy))};
             if (config.policy == AddressPolicy::distributed)
                 choice.set("nack_wait_ms", std::to_string(config.nack_wait.ns / kMs));
             return choice;
         },
         [] { return names_in(address_policies()); },
         [](const Choice& choice) { return known_in(address_policies(), choice); },
         &Ipcp::choose_addresses},
        {"admission", "which flows there may be",
         [](const Ipcp& ipcp) { return ipcp.config_.admission; },
         [] { return names_in(admission_policies()); },
         [](const Choice& choice) { return known_in(admission_policies(), choice); },
         &Ipcp::choose_admission},
        {"efcp", "how fast a reliable connection sends",
         [](const Ipcp& ipcp) {
             for (const CongestionPolicyInfo& one : congestion_policies())
                 if (one.value == ipcp.flows_.config().policies.congestion)
                     return Choice{std::string(one.name)};
             return Choice{};
         },
         [] { return names_in(congestion_policies()); }, none_known, &Ipcp::choose_congestion},
        {"authentication", "which neighbours are believed",
         [](const Ipcp& ipcp) { return Choice{ipcp.config_.auth.policy}; },
         [] { return names_in(auth_policies()); }, none_known, nullptr},
        {"directory", "how an application is found",
         [](const Ipcp&) { return Choice{std::string(kDirectoryPolicy)}; },
         [] { return std::vector{std::string(kDirectoryPolicy)}; }, none_known, nullptr},
    };
    return kComponents;
}

// ---- to look at --------------------------------------------------------------------------------

std::vector<policy::ParameterView> Ipcp::parameters() const {
    std::vector<policy::ParameterView> out;
    for (const Component& c : components()) {
        const Choice choice = c.chosen(*this);
        const bool is_live = c.choose != nullptr;
        out.push_back({std::string(c.name), {}, "policy", choice.name, {},
                       policy::join(c.names()), std::string(c.help), is_live});
        for (Known& one : c.parameters(choice))
            out.push_back({std::string(c.name), choice.name, one.key, std::move(one.value),
                           policy::unit_of(one.key), std::move(one.range), std::move(one.help),
                           is_live});
    }
    const IpcpTunables now = tunables();
    for (const Knob& k : kKnobs)
        out.push_back({std::string(k.component), {}, std::string(k.name),
                       std::to_string(k.get(now)), policy::unit_of(k.name),
                       policy::range_of(k.low, k.high), std::string(k.help), true});
    for (const QosCube& cube : flows_.cubes().all()) {
        out.push_back({std::string(kCubes), {}, cube.name + ".id", std::to_string(cube.id.value),
                       {}, "as configured", "in PDUs", false});
        for (const CubeField& f : kCubeFields)
            out.push_back({std::string(kCubes), {}, fmt::format("{}.{}", cube.name, f.name),
                           f.get(cube), policy::unit_of(f.name), std::string(f.range),
                           std::string(f.help), true});
    }
    std::stable_sort(out.begin(), out.end(),
                     [](const auto& a, const auto& b) { return a.component < b.component; });
    return out;
}

// ---- to change ---------------------------------------------------------------------------------

Result<> Ipcp::set_policy(Instant now, std::string_view component, std::string_view policy,
                          std::span<const policy::Param> params) {
    std::vector<std::string> names;
    for (const Component& c : components()) {
        names.emplace_back(c.name);
        if (c.name != component) continue;
        if (c.choose == nullptr)
            return fail(EBUSY, "the policy of '{}' cannot be changed while the IPC process runs",
                        component);
        Choice choice{std::string(policy)};
        for (const policy::Param& param : params) choice.set(param.key, param.value);
        SLUICE_TRY_VOID((this->*c.choose)(now, std::move(choice)));
        if (c.choose == &Ipcp::choose_addresses)
            may_move_ = config_.addresses.policy == AddressPolicy::distributed;
        return {};
    }
    return fail(ENOENT, "'{}' has no policies, expected one of {}", component,
                policy::join(names));
}

Result<> Ipcp::set_parameter(Instant now, std::string_view component, std::string_view name,
                             std::string_view value) {
    if (component == kCubes) return set_cube_parameter(name, value);
    for (const Component& c : components()) {
        if (c.name != component) continue;
        if (name == "policy") return set_policy(now, component, value);
        Choice choice = c.chosen(*this);
        if (!is_known(c.parameters(choice), name)) break;
        choice.set(name, value);
        return (this->*c.choose)(now, std::move(choice));
    }
    const Knob* const knob = find_knob(component, name);
    if (knob == nullptr) {
        std::vector<std::string> components, names;
        for (const policy::ParameterView& one : parameters()) {
            if (one.component == component) names.push_back(one.name);
            if (components.empty() || components.back() != one.component)
                components.push_back(one.component);
        }
        if (names.empty())
            return fail(ENOENT, "there is no component '{}', expected one of {}", component,
                        policy::join(components));
        return fail(ENOENT, "'{}' has no parameter '{}', expected one of {}", component, name,
                    policy::join(names));
    }
    std::uint64_t number = 0;
    if (value.empty())
        number = knob->get(IpcpTunables{});
    else if (!policy::parse_number(value, number) || number < knob->low || number > knob->high)
        return fail(EINVAL, "{}: parameter '{}' is '{}', expected a number from {} to {}",
                    component, name, value, knob->low, knob->high);
    IpcpTunables wanted = tunables();
    knob->set(wanted, number);
    return tune(now, wanted);
}

Result<> Ipcp::set_cube_parameter(std::string_view name, std::string_view value) {
    const std::size_t dot = name.rfind('.');
    const std::string_view cube_name = name.substr(0, dot);
    const std::string_view field = dot == std::string_view::npos ? "" : name.substr(dot + 1);
    const auto known = flows_.cubes().all();
    std::vector<QosCube> cubes(known.begin(), known.end());
    std::vector<std::string> names;
    for (QosCube& cube : cubes) {
        if (cube.name != cube_name) continue;
        if (field == "id")
            return fail(EBUSY, "the id of QoS cube '{}' cannot be changed while the IPC process "
                               "runs",
                        cube_name);
        for (const CubeField& one : kCubeFields) {
            names.push_back(fmt::format("{}.{}", cube_name, one.name));
            if (one.name != field) continue;
            QosCube fresh;
            if (value.empty())
                value = one.get(fresh) == kUnset ? kUnset : std::string_view{};
            if (!one.set(cube, value.empty() ? one.get(fresh) : std::string(value)))
                return fail(EINVAL, "{}: parameter '{}' is '{}', expected {}", kCubes, name, value,
                            one.range);
            SLUICE_TRY(QosCubes made, QosCubes::make(std::move(cubes), config_.format));
            flows_.set_cubes(std::move(made));
            return {};
        }
    }
    if (names.empty())
        for (const QosCube& cube : cubes) names.push_back(cube.name + ".delay_us");
    return fail(ENOENT, "'{}' has no parameter '{}', expected one of {}", kCubes, name,
                policy::join(names));
}

Result<> Ipcp::choose_routing(Instant now, Choice choice) {
    SLUICE_TRY(auto made, make_routing(choice.name, choice.given()));
    routing_ = std::move(made);
    config_.routing = std::move(choice);
    // An operator does not do that often: at once, also in a large DIF.
    schedule_.mark(now, 0);
    return {};
}

Result<> Ipcp::choose_addresses(Instant now, Choice choice) {
    SLUICE_TRY(const AddressConfig made, make_address_config(choice.name, choice.given()));
    const Duration step = enrollment_.timers().step;
    if (made.policy == AddressPolicy::distributed && made.nack_wait >= step)
        return fail(EINVAL,
                    "address-allocation: parameter 'nack_wait_ms' is '{}', expected less than the "
                    "{} of enrollment's step_ms, for who joins waits meanwhile",
                    made.nack_wait.ns / kMs, step.ns / kMs);
    config_.addresses.policy = made.policy;
    config_.addresses.nack_wait = made.nack_wait;
    addresses_.set_config(now, config_.addresses);
    return {};
}

Result<> Ipcp::choose_admission(Instant, Choice choice) {
    SLUICE_TRY(auto made, make_admission(choice.name, choice.given()));
    flows_.set_admission(std::move(made));
    config_.admission = std::move(choice);
    return {};
}

Result<> Ipcp::choose_congestion(Instant now, Choice choice) {
    for (const CongestionPolicyInfo& one : congestion_policies()) {
        if (one.name != choice.name) continue;
        IpcpTunables wanted = tunables();
        wanted.flows.policies.congestion = one.value;
        return tune(now, wanted);
    }
    return fail(EINVAL, "congestion control '{}' is not known, expected one of {}", choice.name,
                policy::join(names_in(congestion_policies())));
}

IpcpTunables Ipcp::tunables() const {
    return {enrollment_.timers(), enrollment_.is_enroller(), config_.sync,       config_.reconnect,
            config_.gather,       config_.check_sources,     schedule_.config(), lfdb_.times(),
            dft_.times(),         members_.limits(),         flows_.config()};
}

Result<> Ipcp::tune(Instant now, const IpcpTunables& wanted) {
    const IpcpTunables old = tunables();
    const Duration wait = config_.addresses.nack_wait;
    if (wanted.timers.step != old.timers.step && wanted.timers.step <= wait &&
        config_.addresses.policy == AddressPolicy::distributed)
        return fail(EINVAL,
                    "enrollment: parameter 'step_ms' is '{}', expected more than the {} of "
                    "address-allocation's nack_wait_ms, for who joins waits meanwhile",
                    wanted.timers.step.ns / kMs, wait.ns / kMs);
    if (wanted.links.renew_age >= wanted.links.age_max)
        return fail(EINVAL,
                    "replication: links_renew_age_s is {} and links_age_max_s {}, expected the "
                    "first one to be smaller",
                    wanted.links.renew_age.ns / kSecond, wanted.links.age_max.ns / kSecond);
    FlowSpec reliable;
    reliable.max_sdu_gap = 0;
    SLUICE_TRY_VOID(
        efcp::check(terms_for(reliable, wanted.flows.policies).policies, config_.format));

    enrollment_.set_timers(now, wanted.timers);
    enrollment_.set_enroller(wanted.enroller);
    lfdb_.set_times(wanted.links);
    dft_.set_times(wanted.directory);
    members_.set_limits(wanted.members);
    flows_.set_config(now, wanted.flows);
    schedule_.set_config(now, members_.size() + 1, wanted.schedule);
    config_.timers = wanted.timers;
    config_.enroller = wanted.enroller;
    config_.routing_schedule = wanted.schedule;
    config_.flows = wanted.flows;

    config_.check_sources = wanted.check_sources;
    allow_sources();

    config_.sync = wanted.sync;
    for (auto& [port, sync] : syncs_) sync.at = earlier(sync.at, now + config_.sync);
    config_.gather = wanted.gather;
    if (!held_until_.is_never()) held_until_ = earlier(held_until_, now + config_.gather);
    config_.reconnect = wanted.reconnect;
    if (config_.reconnect.ns == 0) lost_.clear();
    for (auto& [peer, lost] : lost_)
        lost.call_at = std::max(now, lost.call_at + (config_.reconnect - old.reconnect));
    return {};
}

}  // namespace sluice::mgmt
