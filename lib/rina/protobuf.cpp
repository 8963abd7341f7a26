#include "rina/protobuf.hpp"

namespace sluice::rina::pb {

namespace {

// Groups are a relic that rlite has none of; they are skipped, not followed to any depth.
constexpr std::size_t kGroupDepthMax = 16;

}  // namespace

bool Reader::varint(std::uint64_t& value) noexcept {
    value = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        if (at_ == end_) return fail(Problem::truncated);
        const auto byte = std::to_integer<std::uint64_t>(*at_++);
        value |= (byte & 0x7f) << shift;  // of the tenth byte one bit counts, as in protobuf
        if (byte < 0x80) return true;
    }
    return fail(Problem::long_varint);
}

bool Reader::fixed(std::size_t width, std::uint64_t& value) noexcept {
    if (static_cast<std::size_t>(end_ - at_) < width) return fail(Problem::truncated);
    value = 0;
    for (std::size_t i = 0; i < width; ++i)
        value |= std::to_integer<std::uint64_t>(at_[i]) << (8 * i);
    at_ += width;
    return true;
}

bool Reader::take(Field& field) noexcept {
    std::uint64_t tag = 0;
    if (!varint(tag)) return false;
    field.number = static_cast<std::uint32_t>(tag >> 3);
    field.type = static_cast<WireType>(tag & 7);
    if (tag > 0xffff'ffff || field.number == 0) return fail(Problem::bad_tag);
    switch (field.type) {
        case WireType::varint: return varint(field.value);
        case WireType::fixed64: return fixed(8, field.value);
        case WireType::fixed32: return fixed(4, field.value);
        case WireType::bytes: {
            std::uint64_t size = 0;
            if (!varint(size)) return false;
            if (size > static_cast<std::size_t>(end_ - at_)) return fail(Problem::truncated);
            field.bytes = {at_, static_cast<std::size_t>(size)};
            at_ += size;
            return true;
        }
        case WireType::group:
        case WireType::group_end: return true;
    }
    return fail(Problem::bad_tag);
}

bool Reader::skip_group(std::uint32_t number) noexcept {
    std::uint32_t open[kGroupDepthMax] = {number};
    std::size_t depth = 1;
    Field inner;
    while (depth > 0) {
        if (!take(inner)) return false;
        if (inner.type == WireType::group) {
            if (depth == kGroupDepthMax) return fail(Problem::bad_group);
            open[depth++] = inner.number;
        } else if (inner.type == WireType::group_end) {
            if (inner.number != open[--depth]) return fail(Problem::bad_group);
        }
    }
    return true;
}

bool Reader::next(Field& field) noexcept {
    for (;;) {
        if (problem_ != Problem::none || at_ == end_) return false;
        if (!take(field)) return false;
        if (field.type == WireType::group_end) return fail(Problem::bad_group);
        if (field.type != WireType::group) return true;
        if (!skip_group(field.number)) return false;
    }
}

void Writer::close(std::size_t begin) noexcept {
    const std::size_t length = size_ - begin;
    std::size_t width = 1;
    for (std::size_t rest = length >> 7; rest != 0; rest >>= 7) ++width;
    if (width > 1 && size_ <= room_ && width - 1 <= room_ - size_)
        std::memmove(to_ + begin + width - 1, to_ + begin, length);
    const std::size_t end = size_ + width - 1;
    size_ = begin - 1;
    varint(length);
    size_ = end;
}

tl::unexpected<Error> fail(const Fault& fault, std::size_t size) {
    const auto where = [&](const char* what) {
        const char* const dot = *fault.field == '\0' ? "" : ".";
        return sluice::fail(EBADMSG, "{}{}{}: {} (byte {} of {})", fault.message, dot,
                            fault.field, what, fault.at, size);
    };
    switch (fault.problem) {
        case Problem::none: break;
        case Problem::truncated: return where("ends in the middle of a field");
        case Problem::long_varint: return where("number of more than ten bytes");
        case Problem::bad_tag: return where("field number or type that cannot be");
        case Problem::bad_group: return where("group that does not end, or too deep");
        case Problem::too_large:
            return sluice::fail(EMSGSIZE, "message of {} bytes, at most {} are read", size,
                                kMessageBytesMax);
        case Problem::too_many: return where("too many list elements");
        case Problem::missing: return where("required, and missing");
        case Problem::control_character: return where("control character in text");
        case Problem::bar: return where("'|' within a part of a name");
        case Problem::out_of_range: return where("number out of range");
    }
    return sluice::fail(EBADMSG, "message that cannot be read");
}

}  // namespace sluice::rina::pb
