#include "tgen/core/wire.hpp"

#include <algorithm>

#include "base/check.hpp"
#include "base/rng.hpp"

namespace sluice::tgen {

namespace {

enum class Type : std::uint8_t { start = 1, fin = 2, report = 3 };

// Messages are written and read by walking over them, so the two sides of a codec read alike.
class Writer {
  public:
    explicit Writer(std::span<std::byte> out) noexcept : out_(out) {}
    ~Writer() { SLUICE_DCHECK(at_ == out_.size()); }
    Writer(const Writer&) = delete;
    Writer& operator=(const Writer&) = delete;

    void u8(std::uint8_t v) noexcept { out_[at_++] = std::byte{v}; }
    void u32(std::uint32_t v) noexcept {
        for (unsigned i = 0; i < 4; ++i) u8(static_cast<std::uint8_t>(v >> (8 * i)));
    }
    void u64(std::uint64_t v) noexcept {
        store_le64(out_.data() + at_, v);
        at_ += 8;
    }
    void header(Type type, std::uint8_t version, Mode mode, std::uint64_t nonce) noexcept {
        u64(kMagic);
        u8(version);
        u8(static_cast<std::uint8_t>(type));
        u8(static_cast<std::uint8_t>(mode));
        u8(0);
        u32(static_cast<std::uint32_t>(out_.size()));
        u64(nonce);
    }

  private:
    std::span<std::byte> out_;
    std::size_t at_ = 0;
};

class Reader {
  public:
    explicit Reader(const std::byte* at) noexcept : at_(at) {}

    std::uint8_t u8() noexcept { return static_cast<std::uint8_t>(*at_++); }
    std::uint32_t u32() noexcept {
        std::uint32_t v = 0;
        for (unsigned i = 0; i < 4; ++i) v |= std::uint32_t{u8()} << (8 * i);
        return v;
    }
    std::uint64_t u64() noexcept {
        const std::uint64_t v = load_le64(at_);
        at_ += 8;
        return v;
    }

  private:
    const std::byte* at_;
};

struct Header {
    std::uint8_t version = 0;
    std::uint8_t mode = 0;
    std::uint64_t nonce = 0;
};

std::optional<Header> read_header(Type type, std::size_t length, std::span<const std::byte> head,
                                  std::size_t size) noexcept {
    if (size != length || head.size() < length) return std::nullopt;
    Reader r(head.data());
    if (r.u64() != kMagic) return std::nullopt;
    Header h;
    h.version = r.u8();
    if (r.u8() != static_cast<std::uint8_t>(type)) return std::nullopt;
    h.mode = r.u8();
    if (r.u8() != 0 || r.u32() != length) return std::nullopt;
    h.nonce = r.u64();
    return h;
}

}  // namespace

bool same_clock(const ClockId& a, const ClockId& b) noexcept {
    if (a.boot_hash == 0 || a.boot_hash != b.boot_hash) return false;
    const auto [low, high] = std::minmax(a.tsc_hz, b.tsc_hz);
    return low > 0 && high - low <= low / 100;
}

std::uint64_t tag_of(std::uint64_t nonce) noexcept {
    const std::uint64_t tag = Rng(nonce).next();
    return tag == kMagic ? ~tag : tag;
}

void encode(const Start& m, std::span<std::byte, kStartSize> out) noexcept {
    Writer w(out);
    w.header(Type::start, m.version, m.mode, m.nonce);
    w.u32(m.sizes.from);
    w.u32(m.sizes.to);
    w.u32(m.sizes.step);
    w.u32(0);
    w.u64(m.count);
    w.u64(m.duration_ns);
    w.u64(m.bytes);
    w.u64(m.clock.boot_hash);
    w.u64(m.clock.tsc_hz);
}

void encode(const Fin& m, std::span<std::byte, kFinSize> out) noexcept {
    Writer w(out);
    w.header(Type::fin, kVersion, Mode::stamped, m.nonce);
    w.u64(m.sdus);
    w.u64(m.bytes);
    w.u64(m.elapsed_ns);
}

void encode(const Report& m, std::span<std::byte, kReportSize> out) noexcept {
    Writer w(out);
    w.header(Type::report, kVersion, Mode::stamped, m.nonce);
    for (const std::uint64_t v :
         {m.sdus, m.bytes, m.lost, m.reordered, m.duplicates, m.unstamped, m.foreign, m.first_ns,
          m.last_ns, m.latency_count, m.latency_min_ns, m.latency_p50_ns, m.latency_p99_ns,
          m.latency_max_ns, m.latency_mean_ns, m.checksum}) {
        w.u64(v);
    }
}

std::optional<Start> parse_start(std::span<const std::byte> head, std::size_t size) noexcept {
    const auto h = read_header(Type::start, kStartSize, head, size);
    if (!h || h->mode > static_cast<std::uint8_t>(Mode::plain)) return std::nullopt;
    Start m;
    m.version = h->version;
    m.nonce = h->nonce;
    m.mode = static_cast<Mode>(h->mode);
    Reader r(head.data() + kControlHeaderSize);
    m.sizes.from = r.u32();
    m.sizes.to = r.u32();
    m.sizes.step = r.u32();
    if (r.u32() != 0 || !m.sizes.valid()) return std::nullopt;
    m.count = r.u64();
    m.duration_ns = r.u64();
    m.bytes = r.u64();
    m.clock.boot_hash = r.u64();
    m.clock.tsc_hz = r.u64();
    return m;
}

std::optional<Fin> parse_fin(std::span<const std::byte> head, std::size_t size) noexcept {
    const auto h = read_header(Type::fin, kFinSize, head, size);
    if (!h || h->version != kVersion) return std::nullopt;
    Reader r(head.data() + kControlHeaderSize);
    Fin m;
    m.nonce = h->nonce;
    m.sdus = r.u64();
    m.bytes = r.u64();
    m.elapsed_ns = r.u64();
    return m;
}

std::optional<Report> parse_report(std::span<const std::byte> head, std::size_t size) noexcept {
    const auto h = read_header(Type::report, kReportSize, head, size);
    if (!h || h->version != kVersion) return std::nullopt;
    Reader r(head.data() + kControlHeaderSize);
    Report m;
    m.nonce = h->nonce;
    for (std::uint64_t* v :
         {&m.sdus, &m.bytes, &m.lost, &m.reordered, &m.duplicates, &m.unstamped, &m.foreign,
          &m.first_ns, &m.last_ns, &m.latency_count, &m.latency_min_ns, &m.latency_p50_ns,
          &m.latency_p99_ns, &m.latency_max_ns, &m.latency_mean_ns, &m.checksum}) {
        *v = r.u64();
    }
    return m;
}

}  // namespace sluice::tgen
