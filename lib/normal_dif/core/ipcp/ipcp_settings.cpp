#include <algorithm>
#include <utility>

#include "normal_dif/core/ipcp/ipcp.hpp"

// What members of a DIF must agree on: an enroller tells its policies and their parameters, and who
// joins obeys as far as that is needed for the DIF to work. rlite takes over every policy that it
// knows, at any time and from anybody, and goes on with its own after one that it does not know
// (UipcpRib::policy_mod there). Here:
//
// - Only the enroller is listened to, and only until we are a member.
// - Where members must do the same (the directory, the allocation of addresses), what we cannot do
//   ends the enrollment. A member with another directory would find no application and not be
//   found, and one that does not hear of claims would give an address away twice.
// - Where it only has to be understood (routing), we do as we are told if that is told in the same
//   messages. Else we keep ours: static routes, for instance, are each node's own. The operator is
//   told of the difference.
namespace sluice::mgmt {

using rina::CdapMessage;
using rina::OpCode;
using rmt::N1PortId;

namespace {

constexpr std::string_view kNackWait = "nack-wait";
constexpr std::size_t kToldMax = 64;  // an enroller has some four settings

// Durations as rlite writes them: "4000ms". Without a unit they are in milliseconds there, too.
std::optional<std::uint64_t> milliseconds_in(std::string_view text) {
    const std::size_t end = text.find_first_not_of("0123456789");
    const std::string_view unit = end == std::string_view::npos ? "ms" : text.substr(end);
    std::uint64_t number = 0;
    // No hour is so long that it overflows.
    if (!policy::parse_number(text.substr(0, end), number) || number > 3'600'000)
        return std::nullopt;
    if (unit == "ms") return number;
    if (unit == "s") return number * 1000;
    return std::nullopt;
}

template <typename List>
const auto* find_in(const List& list, std::string_view name) {
    const auto at = std::find_if(list.begin(), list.end(),
                                 [&](const auto& one) { return one.name == name; });
    return at == list.end() ? nullptr : &*at;
}

}  // namespace

// ---- the enroller ----

std::vector<EnrollmentHost::Setting> Ipcp::settings() const {
    const auto setting = [](rina::RibName object, std::string_view value) {
        return Setting{std::string(object.obj_class), std::string(object.obj_name),
                       std::string(value)};
    };
    std::vector<Setting> out{
        setting(rina::rib::kDftPolicy, kDirectoryPolicy),
        setting(rina::rib::kRoutingPolicy, config_.routing.name),
        setting(rina::rib::kAddressPolicy, to_string(config_.addresses.policy))};
    if (config_.addresses.policy == AddressPolicy::distributed)
        out.push_back({std::string(kNackWait), std::string(rina::rib::kAddressParameters),
                       fmt::format("{}ms", config_.addresses.nack_wait.ns / 1'000'000)});
    return out;
}

// ---- who joins ----

void Ipcp::add_settings() {
    const auto heard = [this](const CdapMessage& m) { on_setting(m); };
    for (const rina::RibName object :
         {rina::rib::kDftPolicy, rina::rib::kRoutingPolicy, rina::rib::kAddressPolicy})
        rib_.add(std::string(object.obj_name), std::string(object.obj_class), {OpCode::write},
                 "a policy's name", heard);
    for (const std::string_view name :
         {rina::rib::kDftParameters, rina::rib::kAddressParameters})
        rib_.add(std::string(name), std::string(Rib::kAnyClass), {OpCode::write},
                 "a policy's parameters", heard);
}

// Kept until the enroller is done: an enrollment that fails has changed nothing.
void Ipcp::on_setting(const CdapMessage& m) {
    if (member_ || !enrollment_.is_receiving(context_.port)) return bad(IpcpDrop::not_allowed);
    const auto* const value = std::get_if<std::string>(&m.value);
    std::vector<Setting>& told = told_[context_.port];
    // They are shown to operators, and are names or numbers.
    if (value == nullptr || !is_node_name(*value) || !is_node_name(m.obj_class) ||
        told.size() >= kToldMax)
        return bad(IpcpDrop::bad_object);
    told.push_back({m.obj_class, m.obj_name, *value});
}

Result<> Ipcp::obey_settings(Instant now, N1PortId port) {
    const auto told = told_.extract(port);
    if (told.empty() || member_) return {};
    for (const Setting& setting : told.mapped()) SLUICE_TRY_VOID(check_setting(setting));
    for (const Setting& setting : told.mapped()) obey(now, setting, told.mapped());
    return {};
}

Result<> Ipcp::check_setting(const Setting& setting) const {
    if (setting.obj_name == rina::rib::kDftPolicy.obj_name && setting.value != kDirectoryPolicy)
        return fail(EPROTO,
                    "the DIF's directory policy is '{}', expected '{}': applications would not be "
                    "found",
                    setting.value, kDirectoryPolicy);
    if (setting.obj_name == rina::rib::kAddressPolicy.obj_name &&
        find_in(address_policies(), setting.value) == nullptr)
        return fail(EPROTO,
                    "the DIF's address-allocation policy is '{}', expected static or distributed: "
                    "two members could get one address",
                    setting.value);
    return {};
}

void Ipcp::obey(Instant now, const Setting& setting, const std::vector<Setting>& told) {
    const std::string& name = setting.obj_name;
    if (name == rina::rib::kDftPolicy.obj_name) return;
    if (name == rina::rib::kRoutingPolicy.obj_name) return obey_routing(now, setting.value);
    if (name == rina::rib::kAddressPolicy.obj_name)
        return obey_addresses(now, setting.value, told);
    if (name == rina::rib::kAddressParameters && setting.obj_class == kNackWait)
        return obey_nack_wait(now, setting.value);
    actions_.push_back(PolicyEvent{
        name == rina::rib::kDftParameters ? "directory" : "address-allocation",
        fmt::format("the DIF has a parameter '{}' = '{}', which is not known here: left out",
                    setting.obj_class, setting.value)});
}

void Ipcp::obey_addresses(Instant now, const std::string& policy,
                          const std::vector<Setting>& told) {
    const std::string own{to_string(config_.addresses.policy)};
    if (own == policy) return;
    // With the DIF's own parameters at once, since ours need not fit that policy.
    policy::Choice choice = policy;
    for (const Setting& one : told)
        if (one.obj_class == kNackWait)
            if (const auto ms = milliseconds_in(one.value))
                choice.set("nack_wait_ms", std::to_string(*ms));
    auto done = choose_addresses(now, choice);
    if (!done) done = choose_addresses(now, policy);
    actions_.push_back(PolicyEvent{
        "address-allocation",
        fmt::format("the DIF's address-allocation policy is '{}', here '{}': {}", policy, own,
                    done ? "changed" : "kept, for " + done.error().message)});
}

void Ipcp::obey_routing(Instant now, const std::string& policy) {
    const policy::Choice own = config_.routing;
    if (own.name == policy) return;
    const auto* const theirs = find_in(routing_policies(), policy);
    const auto* const ours = find_in(routing_policies(), own.name);
    const char* end = "kept";
    if (theirs != nullptr && !theirs->told.empty() && theirs->told == ours->told) {
        // With our parameters as far as that policy has them, too.
        policy::Choice choice = own;
        choice.name = policy;
        if (choose_routing(now, choice) || choose_routing(now, policy)) end = "changed";
    }
    actions_.push_back(PolicyEvent{
        "routing", fmt::format("the DIF's routing policy is '{}', here '{}': {}", policy, own.name,
                               end)});
}

void Ipcp::obey_nack_wait(Instant now, const std::string& value) {
    // That this policy could not be had was said.
    if (config_.addresses.policy != AddressPolicy::distributed) return;
    const auto wanted = milliseconds_in(value);
    const auto own = config_.addresses.nack_wait;
    if (wanted && Duration::milliseconds(static_cast<std::int64_t>(*wanted)) == own) return;
    std::string why = "a duration such as 4000ms was expected";
    if (wanted) {
        const auto done =
            set_parameter(now, "address-allocation", "nack_wait_ms", std::to_string(*wanted));
        if (done) return;
        why = done.error().message;
    }
    actions_.push_back(
        PolicyEvent{"address-allocation",
                    fmt::format("the DIF's nack-wait is '{}', here {} ms: kept, for {}", value,
                                own.ns / 1'000'000, why)});
}

}  // namespace sluice::mgmt
