#include "pcap_writer/pcap_reader.hpp"

namespace sluice::pcap {
namespace {

constexpr std::uint32_t kMagicPcapng = 0x0a0d0d0a;    // the same in both byte orders
constexpr std::uint32_t kMagicModified = 0xa1b2cd34;  // longer record headers, long extinct
// The upper half of the field tells about frame check sequences.
constexpr std::uint32_t kLinktypeMask = 0xffff;

constexpr std::uint32_t swap32(std::uint32_t v) noexcept { return __builtin_bswap32(v); }

}  // namespace

std::uint32_t Reader::word(std::size_t at) const noexcept {
    const std::uint32_t v = get_le32(&bytes_[at]);
    return swapped_ ? swap32(v) : v;
}

Result<Reader> Reader::open(std::span<const std::byte> bytes, std::string_view name) {
    Reader r;
    r.bytes_ = bytes;
    r.name_ = name;
    const std::uint32_t magic = bytes.size() < 4 ? 0 : r.word(0);
    if (magic == kMagicPcapng)
        return fail(EINVAL, "{}: this is pcapng, expected classic pcap (editcap -F nsecpcap)",
                    name);
    if (bytes.size() < kFileHeaderBytes)
        return fail(EINVAL, "{}: {} bytes, expected a pcap file header of {} bytes", name,
                    bytes.size(), kFileHeaderBytes);
    r.swapped_ = magic == swap32(kMagicUs) || magic == swap32(kMagicNs);
    const std::uint32_t known = r.swapped_ ? swap32(magic) : magic;
    if (known == kMagicModified || magic == swap32(kMagicModified))
        return fail(EINVAL, "{}: byte 0: the \"modified\" pcap format is not supported", name);
    if (known != kMagicUs && known != kMagicNs)
        return fail(EINVAL, "{}: byte 0: {:#010x} is not the magic of a pcap file, expected "
                    "{:#010x} or {:#010x}", name, magic, kMagicUs, kMagicNs);
    r.resolution_ = known == kMagicNs ? Resolution::ns : Resolution::us;

    const std::uint32_t version = r.word(4);
    const std::uint32_t major = r.swapped_ ? version >> 16 : version & 0xffff;
    const std::uint32_t minor = r.swapped_ ? version & 0xffff : version >> 16;
    if (major != kVersionMajor || minor != kVersionMinor)
        return fail(EINVAL, "{}: byte 4: version {}.{} of the format, expected {}.{}", name, major,
                    minor, kVersionMajor, kVersionMinor);
    r.snaplen_ = r.word(16);
    r.linktype_ = static_cast<Linktype>(r.word(20) & kLinktypeMask);
    r.offset_ = kFileHeaderBytes;
    return r;
}

Result<std::optional<Record>> Reader::next() {
    const std::size_t left = bytes_.size() - offset_;
    if (left == 0) return std::nullopt;
    if (left < kRecordHeaderBytes)
        return fail(EINVAL, "{}: byte {}: the file ends within a record header ({} of {} bytes)",
                    name_, offset_, left, kRecordHeaderBytes);
    const Stamp stamp{word(offset_), word(offset_ + 4)};
    const std::uint32_t captured = word(offset_ + 8);
    const std::uint32_t original = word(offset_ + 12);
    const std::uint32_t fraction_end = resolution_ == Resolution::ns ? 1'000'000'000 : 1'000'000;
    if (stamp.fraction >= fraction_end)
        return fail(EINVAL, "{}: byte {}: {} as fraction of a second, expected less than {}", name_,
                    offset_ + 4, stamp.fraction, fraction_end);
    if (captured > kSnaplenMax)
        return fail(EINVAL, "{}: byte {}: a record of {} bytes, expected at most {}", name_,
                    offset_ + 8, captured, kSnaplenMax);
    if (captured > left - kRecordHeaderBytes)
        return fail(EINVAL, "{}: byte {}: the file ends within a packet ({} of {} bytes)", name_,
                    offset_ + kRecordHeaderBytes, left - kRecordHeaderBytes, captured);
    Record record;
    record.wall_ns = wall_ns_of(stamp, resolution_);
    record.original = original;
    record.data = bytes_.subspan(offset_ + kRecordHeaderBytes, captured);
    offset_ += kRecordHeaderBytes + captured;
    return record;
}

}  // namespace sluice::pcap
