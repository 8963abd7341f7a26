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
class Ops {
  public:
    template <typename... T>
    constexpr explicit Ops(T... ops) noexcept : bits_(((1u << static_cast<unsigned>(ops)) | ...)) {}
    constexpr bool has(OpCode op) const noexcept {
        return ((bits_ >> static_cast<unsigned>(op)) & 1) != 0;
    }
    constexpr Ops operator|(Ops other) const noexcept { return Ops::of(bits_ | other.bits_); }
    constexpr Ops operator~() const noexcept {
        return Ops::of(~bits_ & ((1u << kOpCodeCount) - 1));
    }
    static constexpr Ops of(unsigned bits) noexcept {
        Ops ops(OpCode::connect);
        ops.bits_ = bits;
        return ops;
    }

  private:
    unsigned bits_;
};

constexpr Ops kNever = Ops::of(0);
constexpr Ops kConnect(OpCode::connect, OpCode::connect_r);
constexpr Ops kRelease(OpCode::release, OpCode::release_r);
constexpr Ops kCancel(OpCode::cancel_read, OpCode::cancel_read_r);
constexpr Ops kResponses(OpCode::connect_r, OpCode::release_r, OpCode::create_r, OpCode::remove_r,
                         OpCode::read_r, OpCode::cancel_read_r, OpCode::write_r, OpCode::start_r,
                         OpCode::stop_r);
// Requests about an object, but M_CANCELREAD, which only names a request.
constexpr Ops kRequests(OpCode::create, OpCode::remove, OpCode::read, OpCode::write, OpCode::start,
                        OpCode::stop);
constexpr Ops kFiltered(OpCode::remove, OpCode::read, OpCode::write, OpCode::start, OpCode::stop);

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
    {"obj_value", Ops(OpCode::write), kConnect | kRelease | kCancel | Ops(OpCode::remove_r),
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
        if (!is_there && rule.must.has(message.op))
            return fail(EPROTO, "{} without {}", to_string(message.op), rule.field);
        if (is_there && rule.must_not.has(message.op))
            return fail(EPROTO, "{} with {}, which it must not have", to_string(message.op),
                        rule.field);
    }
    if (message.obj_class.empty() != message.obj_name.empty())
        return fail(EPROTO, "{} with one of obj_class and obj_name; expected both or none",
                    to_string(message.op));
    return {};
}

}  // namespace sluice::rina
