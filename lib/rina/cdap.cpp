#include "rina/cdap.hpp"

#include <array>

#include "rina/cdap_fields.hpp"

namespace sluice::rina {

namespace {

constexpr std::array<std::string_view, kOpCodeCount> kOpNames = {
    "M_CONNECT", "M_CONNECT_R", "M_RELEASE", "M_RELEASE_R", "M_CREATE",     "M_CREATE_R",
    "M_DELETE",  "M_DELETE_R",  "M_READ",    "M_READ_R",    "M_CANCELREAD", "M_CANCELREAD_R",
    "M_WRITE",   "M_WRITE_R",   "M_START",   "M_START_R",   "M_STOP",       "M_STOP_R",
};

// A set of operations.
using Ops = std::uint32_t;
constexpr Ops only(OpCode op) noexcept { return Ops{1} << static_cast<unsigned>(op); }

constexpr Ops kNever = 0;
constexpr Ops kConnect = only(OpCode::connect) | only(OpCode::connect_r);
constexpr Ops kRelease = only(OpCode::release) | only(OpCode::release_r);
constexpr Ops kCancel = only(OpCode::cancel_read) | only(OpCode::cancel_read_r);
constexpr Ops kResponses = only(OpCode::connect_r) | only(OpCode::release_r) |
                           only(OpCode::create_r) | only(OpCode::remove_r) |
                           only(OpCode::read_r) | only(OpCode::cancel_read_r) |
                           only(OpCode::write_r) | only(OpCode::start_r) | only(OpCode::stop_r);
constexpr Ops kFiltered = only(OpCode::remove) | only(OpCode::read) | only(OpCode::write) |
                          only(OpCode::start) | only(OpCode::stop);
// Requests about an object, but M_CANCELREAD, which only names a request.
constexpr Ops kRequests = kFiltered | only(OpCode::create);

struct Rule {
    const char* field;
    Ops must;
    Ops must_not;
    bool (*is_there)(const CdapMessage&);
};

// A field is there if it is not its default: rlite judges by the value too.
constexpr Rule kRules[] = {
    {"abs_syntax", kConnect, ~kConnect, [](const CdapMessage& m) { return m.abs_syntax != 0; }},
    {"auth_mech", kNever, ~kConnect,
     [](const CdapMessage& m) { return m.auth_mechanism != AuthMechanism::none; }},
    {"auth_value", kNever, ~kConnect,
     [](const CdapMessage& m) { return m.auth != AuthValue{}; }},
    {"src_ap_name", kConnect, ~kConnect,
     [](const CdapMessage& m) { return !m.source.process.empty(); }},
    {"dest_ap_name", kConnect, ~kConnect,
     [](const CdapMessage& m) { return !m.destination.process.empty(); }},
    {"filter", kNever, ~kFiltered, [](const CdapMessage& m) { return !m.filter.empty(); }},
    {"invoke_id", kConnect | kResponses | kCancel, kNever,
     [](const CdapMessage& m) { return m.invoke_id != 0; }},
    {"obj_class", kNever, kConnect | kRelease | kCancel,
     [](const CdapMessage& m) { return !m.obj_class.empty(); }},
    {"obj_name", kNever, kConnect | kRelease | kCancel,
     [](const CdapMessage& m) { return !m.obj_name.empty(); }},
    {"obj_inst", kNever, kConnect | kRelease | kCancel,
     [](const CdapMessage& m) { return m.obj_instance != 0; }},
    {"obj_value", only(OpCode::write), kConnect | kRelease | kCancel | only(OpCode::remove_r),
     [](const CdapMessage& m) { return m.value.index() != 0; }},
    {"result", kNever, ~kResponses, [](const CdapMessage& m) { return m.result != 0; }},
    {"result_reason", kNever, ~kResponses, [](const CdapMessage& m) { return !m.reason.empty(); }},
    {"scope", kNever, ~kRequests, [](const CdapMessage& m) { return m.scope != 0; }},
    {"version", kConnect, kNever, [](const CdapMessage& m) { return m.version != 0; }},
};

}  // namespace

std::string_view to_string(OpCode op) noexcept {
    const auto index = static_cast<std::size_t>(op);
    return index < kOpNames.size() ? kOpNames[index] : "M_?";
}

Result<CdapMessage> decode_cdap(std::span<const std::byte> bytes) {
    return pb::decode<CdapMessage>(bytes);
}

Bytes encode(const CdapMessage& message, Emission emission) {
    return pb::encode(message, emission);
}

std::size_t encode(const CdapMessage& message, std::span<std::byte> to,
                   Emission emission) noexcept {
    return pb::encode(message, to, emission);
}

Result<> check(const CdapMessage& message) {
    for (const Rule& rule : kRules) {
        const bool is_there = rule.is_there(message);
        if (!is_there && (rule.must & only(message.op)) != 0)
            return fail(EPROTO, "{} without {}", to_string(message.op), rule.field);
        if (is_there && (rule.must_not & only(message.op)) != 0)
            return fail(EPROTO, "{} with {}, which it must not have", to_string(message.op),
                        rule.field);
    }
    if (message.obj_class.empty() != message.obj_name.empty())
        return fail(EPROTO, "{} with one of obj_class and obj_name; expected both or none",
                    to_string(message.op));
    return {};
}

}  // namespace sluice::rina
