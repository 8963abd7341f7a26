#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "base/result.hpp"
#include "rina/message_value.hpp"
#include "rina/names.hpp"

// CDAP, the Common Distributed Application Protocol, with the message of rlite (CDAP.proto there).
// What IPC processes say to each other about the objects of their RIBs.
namespace sluice::rina {

enum class OpCode : std::uint8_t {
    connect = 0,
    connect_r,
    release,
    release_r,
    create,
    create_r,
    remove,  // M_DELETE
    remove_r,
    read,
    read_r,
    cancel_read,
    cancel_read_r,
    write,
    write_r,
    start,
    start_r,
    stop,
    stop_r,
};
inline constexpr std::size_t kOpCodeCount = 18;

// "M_CONNECT"
std::string_view to_string(OpCode op) noexcept;
constexpr bool is_response(OpCode op) noexcept {
    return (static_cast<unsigned>(op) & 1) != 0;
}
// The response to a request.
constexpr OpCode response_to(OpCode op) noexcept {
    return static_cast<OpCode>(static_cast<unsigned>(op) | 1);
}

enum class CdapFlags : std::uint8_t {
    none = 0,
    sync = 1,
    read_incomplete = 2,  // more answers to this M_READ follow
};

// What rlite puts into abs_syntax of M_CONNECT; receivers only want it not to be zero.
inline constexpr std::int32_t kAbsSyntax = 73;
// The version of messages within a session.
inline constexpr std::int64_t kCdapVersion = 1;

// The value of an object: nothing, a scalar, text (policies and parameters), or the bytes of a
// structured object (rina/objects.hpp).
using ObjValue = std::variant<std::monostate, std::int32_t, SInt<std::int32_t>, std::int64_t,
                              SInt<std::int64_t>, std::string, Bytes, float, double, bool>;

enum class AuthMechanism : std::uint8_t { none = 0, password = 1, ssh_rsa = 2, ssh_dsa = 3 };

struct AuthValue {
    std::string name;
    std::string password;
    Bytes other;

    bool operator==(const AuthValue&) const = default;
};

struct CdapMessage {
    std::int32_t abs_syntax = 0;
    OpCode op = OpCode::connect;
    std::int32_t invoke_id = 0;  // 0: none
    CdapFlags flags = CdapFlags::none;
    std::string obj_class;
    std::string obj_name;
    std::int64_t obj_instance = 0;
    ObjValue value;
    std::int32_t result = 0;  // 0: success
    std::int32_t scope = 0;
    Bytes filter;
    AuthMechanism auth_mechanism = AuthMechanism::none;
    AuthValue auth;
    AppName destination;
    AppName source;
    std::string reason;  // for people, of a result that is not 0
    std::int64_t version = 0;

    bool operator==(const CdapMessage&) const = default;
};

// EBADMSG unless `bytes` are a message; see rina/protobuf.hpp for how that is judged. Text with
// control characters is refused, for it reaches terminals and logs; bytes that are no UTF-8 are
// not.
Result<CdapMessage> decode_cdap(std::span<const std::byte> bytes);

// A message that check() lets pass is understood by rlite in either emission.
Bytes encode(const CdapMessage& message, Emission emission = Emission::as_rlite);
// Into a buffer of the caller's, without allocating. Returns the bytes that the message takes; if
// they are more than there is room for, the buffer holds nothing of use.
std::size_t encode(const CdapMessage& message, std::span<std::byte> to,
                   Emission emission = Emission::as_rlite) noexcept;

// What rlite's receiver asks of a message beyond its grammar (the validation table in its
// cdap.cpp): which fields an operation must have and may not have. EPROTO with what is wrong.
Result<> check(const CdapMessage& message);

}  // namespace sluice::rina
