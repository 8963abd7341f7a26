#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <variant>
#include <vector>

#include "base/result.hpp"
#include "base/types.hpp"
#include "rina/message_value.hpp"
#include "rina/rlite_name.hpp"

// Google's protocol buffers, as far as CDAP needs them (developers.google.com/protocol-buffers,
// "Encoding"), and nothing that a schema compiler would have to make: a message is a plain struct,
// and one function per struct, describe(), names its fields once for reader and writer alike.
// Included by the codecs of lib/rina only.
//
// Reading is total. Whatever the bytes are, it ends, stays inside them, allocates no more than they
// account for, and says what is wrong and where. As protobuf does, it takes fields in any order,
// the last of a repeated scalar, merges repeated sub-messages, ignores unknown fields, unknown
// enumerators and known fields of another wire type, and insists on required fields.
namespace sluice::rina::pb {

// The largest message that is read: what a PDU with a two-byte length can carry.
inline constexpr std::size_t kMessageBytesMax = 65535;
// Elements of all lists in one message. rlite sends at most ten; an element may be two bytes on the
// wire and a hundred in memory.
inline constexpr unsigned kElementsMax = 1024;

enum class WireType : std::uint8_t {
    varint = 0,
    fixed64 = 1,
    bytes = 2,
    group = 3,
    group_end = 4,
    fixed32 = 5,
};

enum class Problem : std::uint8_t {
    none,
    truncated,
    long_varint,
    bad_tag,
    bad_group,
    too_large,
    too_many,
    missing,
    control_character,
    bar,
    out_of_range,
};

// What was wrong first. Names are string literals.
struct Fault {
    Problem problem = Problem::none;
    const char* message = "";
    const char* field = "";
    std::size_t at = 0;  // bytes from the beginning of the outermost message
};

struct Field {
    std::uint32_t number = 0;
    WireType type = WireType::varint;
    std::uint64_t value = 0;           // of a varint, fixed32 or fixed64
    std::span<const std::byte> bytes;  // of bytes
};

// Goes over the fields of one message.
class Reader {
  public:
    explicit Reader(std::span<const std::byte> bytes) noexcept
        : at_(bytes.data()), end_(at_ + bytes.size()) {}

    // The next field that is no group; false at the end and at a problem.
    bool next(Field& field) noexcept;
    Problem problem() const noexcept { return problem_; }
    const std::byte* at() const noexcept { return at_; }

  private:
    bool fail(Problem problem) noexcept {
        problem_ = problem;
        return false;
    }
    bool varint(std::uint64_t& value) noexcept;
    bool fixed(std::size_t width, std::uint64_t& value) noexcept;
    bool take(Field& field) noexcept;
    bool skip_group(std::uint32_t number) noexcept;

    const std::byte* at_;
    const std::byte* end_;
    Problem problem_ = Problem::none;
};

// When a field is written.
enum class Emit : std::uint8_t {
    optional,  // if it is not its default
    always,    // Emission::as_rlite: always; Emission::sparse: if it is not its default
    required,  // always; and a message without it is refused
};

template <typename T, typename U>
concept Like = std::same_as<std::remove_const_t<T>, U>;

template <typename T>
inline constexpr bool kIsStrongId = false;
template <typename Tag, typename Rep>
inline constexpr bool kIsStrongId<StrongId<Tag, Rep>> = true;

// The wire type of a value. What is not a number is bytes.
template <typename T>
inline constexpr WireType kWireType =
    std::integral<T> || kIsStrongId<T> ? WireType::varint : WireType::bytes;
template <>
inline constexpr WireType kWireType<double> = WireType::fixed64;
template <>
inline constexpr WireType kWireType<float> = WireType::fixed32;
template <typename T>
inline constexpr WireType kWireType<SInt<T>> = WireType::varint;
template <typename T>
inline constexpr WireType kWireType<std::optional<T>> = kWireType<T>;

// ---- reading ---------------------------------------------------------------------------------

struct Context {
    const std::byte* origin;
    unsigned elements = 0;
    Fault fault{};

    bool fail(Problem problem, const char* message, const char* field,
              const std::byte* at) noexcept {
        if (fault.problem == Problem::none)
            fault = {problem, message, field, static_cast<std::size_t>(at - origin)};
        return false;
    }
};

template <typename M>
bool merge(Context& context, std::span<const std::byte> bytes, M& to);

// Offers one field from the wire to the fields that describe() names.
class Taker {
  public:
    Taker(Context& context, const Field& field, const std::byte* at) noexcept
        : context_(context), field_(field), at_(at) {}

    static constexpr bool is_sparse() noexcept { return false; }
    void message(const char* name) noexcept { message_ = name; }
    bool ok() const noexcept { return ok_; }
    // Whether it was one of the message's fields, of its wire type and with a value that can be.
    bool is_taken() const noexcept { return is_taken_; }

    template <typename T>
    void field(std::uint32_t number, const char* name, T& to, Emit = Emit::optional) {
        if (number == field_.number) ok_ = take(name, to);
    }
    // A string that may not have bars.
    void part(std::uint32_t number, const char* name, std::string& to, Emit = Emit::optional) {
        if (number != field_.number) return;
        ok_ = take(name, to);
        if (ok_ && to.find('|') != std::string::npos) ok_ = fail(Problem::bar, name);
    }
    template <typename E>
    void enumerator(std::uint32_t number, const char*, E& to, E last, Emit = Emit::optional) {
        if (number != field_.number || !is(WireType::varint)) return;
        is_taken_ = field_.value <= static_cast<std::uint64_t>(last);
        if (is_taken_) to = static_cast<E>(field_.value);
    }
    // An address in an int32. A negative one has bit 31 of 32 bits; one of more than 32 bits is
    // taken as it is, which rlite cannot.
    template <typename Id>
    void signed_id(std::uint32_t number, const char*, Id& to, Emit = Emit::optional) {
        if (number != field_.number || !is(WireType::varint)) return;
        is_taken_ = true;
        constexpr std::uint64_t kNegative = 0xffff'ffff'8000'0000;
        to = Id{field_.value >= kNegative ? field_.value & 0xffff'ffff : field_.value};
    }
    // A message in a field of type bytes: the last one counts, and it is not merged.
    template <typename M>
    void embedded(std::uint32_t number, const char* name, M& to, Emit = Emit::optional) {
        if (number != field_.number || !is(WireType::bytes)) return;
        to = M{};
        ok_ = take(name, to);
    }
    // One of the alternatives of a variant, each a field: the last one on the wire counts.
    template <std::size_t kIndex, typename Variant>
    void alternative(std::uint32_t number, const char* name, Variant& to) {
        using T = std::variant_alternative_t<kIndex, Variant>;
        if (number == field_.number && is(kWireType<T>))
            ok_ = take(name, to.template emplace<kIndex>());
    }

  private:
    bool fail(Problem problem, const char* name) noexcept {
        return context_.fail(problem, message_, name, at_);
    }
    bool is(WireType type) const noexcept { return field_.type == type; }

    // A field of another wire type is not the one that is meant.
    template <typename T>
    bool take(const char* name, T& to) {
        is_taken_ = is(kWireType<T>);
        return is_taken_ ? take_value(name, to) : true;
    }
    template <typename T>
    bool take_value(const char* name, T& to) {
        if constexpr (std::same_as<T, bool>) {
            to = field_.value != 0;
        } else if constexpr (std::integral<T>) {
            to = static_cast<T>(field_.value);
        } else if constexpr (kIsStrongId<T>) {
            using Rep = typename T::rep;
            if (field_.value > std::numeric_limits<Rep>::max())
                return fail(Problem::out_of_range, name);
            to = T{static_cast<Rep>(field_.value)};
        } else if constexpr (std::same_as<T, double>) {
            to = std::bit_cast<double>(field_.value);
        } else if constexpr (std::same_as<T, float>) {
            to = std::bit_cast<float>(static_cast<std::uint32_t>(field_.value));
        } else if constexpr (std::same_as<T, std::string>) {
            to.assign(reinterpret_cast<const char*>(field_.bytes.data()), field_.bytes.size());
            if (has_control_character(to)) return fail(Problem::control_character, name);
        } else if constexpr (std::same_as<T, Bytes>) {
            to.assign(field_.bytes.begin(), field_.bytes.end());
        } else {
            return merge(context_, field_.bytes, to);
        }
        return true;
    }
    template <typename T>
    bool take_value(const char*, SInt<T>& to) {
        using U = std::make_unsigned_t<T>;
        const auto v = static_cast<U>(field_.value);
        to.value = static_cast<T>((v >> 1) ^ (U{0} - (v & 1)));
        return true;
    }
    template <typename T>
    bool take_value(const char* name, std::optional<T>& to) {
        return take_value(name, to ? *to : to.emplace());
    }
    template <typename T>
    bool take_value(const char* name, Boxed<T>& to) {
        return take_value(name, to ? *to : to.emplace());
    }
    template <typename T>
        requires(!std::same_as<T, std::byte>)
    bool take_value(const char* name, std::vector<T>& to) {
        if (++context_.elements > kElementsMax) return fail(Problem::too_many, name);
        return take_value(name, to.emplace_back());
    }

    Context& context_;
    const Field& field_;
    const std::byte* at_;
    const char* message_ = "";
    bool ok_ = true;
    bool is_taken_ = false;
};

// Asks describe() for the first required field that was not there.
class Required {
  public:
    explicit Required(std::uint64_t seen) noexcept : seen_(seen) {}

    static constexpr bool is_sparse() noexcept { return false; }
    void message(const char* name) noexcept { message_ = name; }
    template <typename T>
    void field(std::uint32_t number, const char* name, T&, Emit emit = Emit::optional) {
        see(number, name, emit);
    }
    void part(std::uint32_t number, const char* name, const std::string&,
              Emit emit = Emit::optional) {
        see(number, name, emit);
    }
    template <typename E>
    void enumerator(std::uint32_t number, const char* name, E&, std::remove_const_t<E>,
                    Emit emit = Emit::optional) {
        see(number, name, emit);
    }
    template <typename Id>
    void signed_id(std::uint32_t number, const char* name, Id&, Emit emit = Emit::optional) {
        see(number, name, emit);
    }
    template <typename M>
    void embedded(std::uint32_t number, const char* name, M&, Emit emit = Emit::optional) {
        see(number, name, emit);
    }
    template <std::size_t kIndex, typename Variant>
    void alternative(std::uint32_t, const char*, Variant&) noexcept {}
    const char* message_name() const noexcept { return message_; }
    const char* missing() const noexcept { return missing_; }

  private:
    void see(std::uint32_t number, const char* name, Emit emit) noexcept {
        if (emit == Emit::required && missing_ == nullptr && ((seen_ >> number) & 1) == 0)
            missing_ = name;
    }
    std::uint64_t seen_;
    const char* message_ = "";
    const char* missing_ = nullptr;
};

// Reads a message into `to`, over what is already there.
template <typename M>
bool merge(Context& context, std::span<const std::byte> bytes, M& to) {
    Reader reader(bytes);
    Field field;
    std::uint64_t seen = 0;  // field numbers here stay below 64
    for (;;) {
        const std::byte* const at = reader.at();
        if (!reader.next(field)) break;
        Taker taker(context, field, at);
        describe(taker, to);
        if (!taker.ok()) return false;
        if (taker.is_taken()) seen |= std::uint64_t{1} << field.number;
    }
    Required required(seen);
    describe(required, to);
    if (reader.problem() != Problem::none)
        return context.fail(reader.problem(), required.message_name(), "", reader.at());
    if (required.missing() != nullptr)
        return context.fail(Problem::missing, required.message_name(), required.missing(),
                            bytes.data() + bytes.size());
    return true;
}

// The sentence for `fault`.
tl::unexpected<Error> fail(const Fault& fault, std::size_t size);

template <typename M>
Result<M> decode(std::span<const std::byte> bytes) {
    if (bytes.size() > kMessageBytesMax) return fail(Fault{Problem::too_large}, bytes.size());
    Context context{bytes.data()};
    Result<M> message;
    if (!merge(context, bytes, *message)) return fail(context.fault, bytes.size());
    return message;
}

// ---- writing ---------------------------------------------------------------------------------

// Writes to a buffer of any size and counts on where it ends, so that a caller learns the size that
// it needs. Neither allocates nor throws.
class Writer {
  public:
    Writer(std::span<std::byte> to, Emission emission) noexcept
        : to_(to.data()), room_(to.size()), emission_(emission) {}

    std::size_t size() const noexcept { return size_; }
    void message(const char*) noexcept {}

    template <typename T>
    void field(std::uint32_t number, const char*, const T& from,
               Emit emit = Emit::optional) noexcept {
        put(number, from, emit);
    }
    void part(std::uint32_t number, const char*, const std::string& from,
              Emit emit = Emit::optional) noexcept {
        put(number, from, emit);
    }
    template <typename E>
    void enumerator(std::uint32_t number, const char*, const E& from, E,
                    Emit emit = Emit::optional) noexcept {
        put(number, static_cast<std::uint32_t>(from), emit);
    }
    template <typename Id>
    void signed_id(std::uint32_t number, const char*, const Id& from,
                   Emit emit = Emit::optional) noexcept {
        const std::uint64_t v = from.value;
        const bool is_negative = v <= 0xffff'ffff && (v >> 31) != 0;
        put(number, is_negative ? v | 0xffff'ffff'0000'0000 : v, emit);
    }
    template <typename M>
    void embedded(std::uint32_t number, const char*, const M& from,
                  Emit emit = Emit::optional) noexcept {
        put(number, from, emit);
    }
    template <std::size_t kIndex, typename Variant>
    void alternative(std::uint32_t number, const char*, const Variant& from) noexcept {
        if (const auto* value = std::get_if<kIndex>(&from)) put(number, *value, Emit::required);
    }

  private:
    bool writes_default(Emit emit) const noexcept {
        return emit == Emit::required ||
               (emit == Emit::always && emission_ == Emission::as_rlite);
    }
    void byte(std::uint8_t value) noexcept {
        if (size_ < room_) to_[size_] = static_cast<std::byte>(value);
        ++size_;
    }
    void varint(std::uint64_t value) noexcept {
        for (; value >= 0x80; value >>= 7) byte(static_cast<std::uint8_t>(value | 0x80));
        byte(static_cast<std::uint8_t>(value));
    }
    void tag(std::uint32_t number, WireType type) noexcept {
        varint((std::uint64_t{number} << 3) | static_cast<std::uint64_t>(type));
    }
    void raw(const void* from, std::size_t size) noexcept {
        // Nothing behind the room is written, and what is before it is of no use then.
        if (size != 0 && size <= room_ && size_ <= room_ - size)
            std::memcpy(to_ + size_, from, size);
        size_ += size;
    }
    void fixed(std::uint64_t value, unsigned width) noexcept {
        for (unsigned i = 0; i < width; ++i) byte(static_cast<std::uint8_t>(value >> (8 * i)));
    }
    // The content is written behind one byte for its length and moved if the length needs more.
    template <typename M>
    void submessage(std::uint32_t number, const M& from) noexcept {
        tag(number, WireType::bytes);
        const std::size_t begin = size_ + 1;
        byte(0);
        describe(*this, from);
        close(begin);
    }
    void close(std::size_t begin) noexcept;

    template <typename T>
    void put(std::uint32_t number, const T& from, Emit emit) noexcept {
        if (!writes_default(emit) && from == T{}) return;
        if constexpr (kIsStrongId<T>) {
            put(number, from.value, Emit::required);
        } else if constexpr (kWireType<T> == WireType::bytes) {
            put_bytes(number, from);
        } else {
            tag(number, kWireType<T>);
            number_of(from);
        }
    }
    template <typename T>
    void number_of(T from) noexcept {
        // Negative numbers of any width take ten bytes: protobuf extends the sign.
        varint(static_cast<std::uint64_t>(from));
    }
    template <typename T>
    void number_of(SInt<T> from) noexcept {
        using U = std::make_unsigned_t<T>;
        const auto v = static_cast<U>(from.value);
        varint(static_cast<U>((v << 1) ^ (U{0} - (v >> (8 * sizeof(U) - 1)))));
    }
    void number_of(double from) noexcept { fixed(std::bit_cast<std::uint64_t>(from), 8); }
    void number_of(float from) noexcept { fixed(std::bit_cast<std::uint32_t>(from), 4); }
    template <typename T>
    void put_bytes(std::uint32_t number, const T& from) noexcept {
        if constexpr (std::same_as<T, std::string> || std::same_as<T, Bytes>) {
            tag(number, WireType::bytes);
            varint(from.size());
            raw(from.data(), from.size());
        } else {
            submessage(number, from);
        }
    }
    template <typename T>
    void put(std::uint32_t number, const std::optional<T>& from, Emit) noexcept {
        if (from) put(number, *from, Emit::required);
    }
    template <typename T>
    void put(std::uint32_t number, const Boxed<T>& from, Emit) noexcept {
        if (from) put(number, *from, Emit::required);
    }
    template <typename T>
        requires(!std::same_as<T, std::byte>)
    void put(std::uint32_t number, const std::vector<T>& from, Emit) noexcept {
        for (const T& element : from) put(number, element, Emit::required);
    }

    std::byte* to_;
    std::size_t room_;
    std::size_t size_ = 0;
    Emission emission_;
};

// Bytes that `message` takes; if that is more than there is room, `to` holds nothing of use.
template <typename M>
std::size_t encode(const M& message, std::span<std::byte> to, Emission emission) noexcept {
    Writer writer(to, emission);
    describe(writer, message);
    return writer.size();
}

template <typename M>
Bytes encode(const M& message, Emission emission) {
    // Almost all that rlite sends fits, so that the message is gone over once and not twice.
    Bytes bytes(512);
    const std::size_t size = pb::encode(message, bytes, emission);
    const bool again = size > bytes.size();
    bytes.resize(size);
    if (again) pb::encode(message, bytes, emission);
    return bytes;
}

}  // namespace sluice::rina::pb
