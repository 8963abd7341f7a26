#include "normal_dif/core/ipcp/digest.hpp"

#include <cstring>
#include <string_view>

namespace sluice::mgmt {

namespace {

constexpr std::string_view kMagic = "SLD1";

// FNV-1a, with an avalanche at the end: sums of hashes must not cancel out.
class Hash {
  public:
    Hash& add(std::string_view text) noexcept {
        for (const char c : text) mix(static_cast<unsigned char>(c));
        mix(0x100);  // "ab", "c" is not "a", "bc"
        return *this;
    }
    Hash& add(std::uint64_t number) noexcept {
        for (int i = 0; i < 8; ++i) mix(number >> (8 * i) & 0xff);
        return *this;
    }
    std::uint64_t value() const noexcept {
        std::uint64_t z = hash_;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
        return z ^ (z >> 31);
    }

  private:
    void mix(std::uint64_t v) noexcept { hash_ = (hash_ ^ v) * 0x100000001b3ull; }
    std::uint64_t hash_ = 0xcbf29ce484222325ull;
};

template <typename Entry, typename F>
std::uint64_t sum(const std::vector<Entry>& entries, F&& hash) {
    std::uint64_t out = 0;
    for (const Entry& entry : entries) out += hash(entry).value();
    return out;
}

}  // namespace

std::uint64_t digest_of(const std::vector<rina::NeighborCandidate>& members) {
    return sum(members, [](const rina::NeighborCandidate& m) {
        Hash h;
        h.add(m.process).add(m.instance).add(m.address.value).add(m.version);
        for (const std::string& dif : m.lower_difs) h.add(dif);
        return h;
    });
}

std::uint64_t digest_of(const std::vector<rina::LowerFlow>& links) {
    return sum(links, [](const rina::LowerFlow& l) {
        return Hash().add(l.local_node).add(l.remote_node).add(l.sequence);
    });
}

std::uint64_t digest_of(const std::vector<rina::DftEntry>& names) {
    return sum(names, [](const rina::DftEntry& e) {
        return Hash().add(e.application.wire()).add(e.ipcp).add(e.sequence);
    });
}

std::uint64_t digest_of(const std::vector<rina::AddrAllocRequest>& addresses) {
    return sum(addresses, [](const rina::AddrAllocRequest& r) {
        return Hash().add(r.requestor).add(r.address.value);
    });
}

rina::Bytes encode(const TableDigests& digests) {
    rina::Bytes out(kMagic.size() + sizeof digests.of);
    std::memcpy(out.data(), kMagic.data(), kMagic.size());
    static_assert(std::endian::native == std::endian::little);
    std::memcpy(out.data() + kMagic.size(), digests.of.data(), sizeof digests.of);
    return out;
}

std::optional<TableDigests> digests_in(const rina::ObjValue& value) {
    const auto* const bytes = std::get_if<rina::Bytes>(&value);
    TableDigests out;
    if (bytes == nullptr || bytes->size() < kMagic.size() + sizeof out.of ||
        std::memcmp(bytes->data(), kMagic.data(), kMagic.size()) != 0)
        return std::nullopt;
    std::memcpy(out.of.data(), bytes->data() + kMagic.size(), sizeof out.of);
    return out;
}

}  // namespace sluice::mgmt
