#include "normal_dif/core/rmt/rmt.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/check.hpp"
#include "normal_dif/core/faults.hpp"
#include "rina/inet_checksum.hpp"

namespace sluice::rmt {

namespace {

using Kind = Decision::Kind;
using rina::PciError;
using rina::PciFormat;

// Of a header that is there in full.
DropReason reason_of(PciError error) noexcept {
    return error == PciError::unknown_type ? DropReason::dif_unknown_type
                                           : DropReason::dif_bad_length;
}

void drop(Decision& out, DropReason reason) noexcept {
    out.kind = Kind::drop;
    out.reason = reason;
}

// False, but for faults that are switched on.
bool is_overlooked(PciError error) noexcept {
    using faults::Fault;
    return (error == PciError::short_control && faults::is_active(Fault::short_control_read)) ||
           (error == PciError::long_length && faults::is_active(Fault::length_believed));
}

// Bounds the work between a look at a header and its rewriting, and so what must stay in the cache.
constexpr std::size_t kChunk = 32;

}  // namespace

Result<> Rmt::set_source(N1PortId port, rina::Address source) {
    if (!is_n1_port(port)) return fail(EINVAL, "{} is no N-1 port", port.value);
    if (port.value >= sources_.size()) {
        if (source == kAnySource) return {};
        sources_.resize(std::size_t{port.value} + 1, kAnySource);
    }
    sources_[port.value] = source;
    return {};
}

// True if the PDU is to be forwarded.
template <bool kDefault>
[[gnu::always_inline]] inline bool Rmt::look(const RxPdu& pdu, Decision& out) const noexcept {
    const PciFormat& format = kDefault ? rina::kDefaultFormat : params_.format;
    const std::size_t bytes = format.bytes();
    if (pdu.head_bytes < bytes || pdu.frame_bytes < bytes) [[unlikely]] {
        drop(out, DropReason::too_short);
        return false;
    }
    std::array<std::byte, rina::kPciBytesMax> copy;
    if constexpr (kDefault) {
        // In pieces that do not overlap: a load of bytes from two stores in flight waits for both.
        static_assert(rina::kDefaultFormat.bytes() == 28);
        std::memcpy(copy.data(), pdu.head, 16);
        std::memcpy(copy.data() + 16, pdu.head + 16, 8);
        std::memcpy(copy.data() + 24, pdu.head + 24, 4);
    } else {
        std::memcpy(copy.data(), pdu.head, bytes);
    }
    // Or the compiler may read the original a second time, after it was checked.
    asm volatile("" : "+m"(copy));
    const PciError error =
        rina::parse(std::span(copy.data(), bytes), pdu.frame_bytes, format, out.pci);
    if (error != PciError::none && !is_overlooked(error)) [[unlikely]] {
        drop(out, reason_of(error));
        return false;
    }
    const rina::Pci& pci = out.pci;
    const bool management = pci.type == static_cast<std::uint8_t>(rina::PduType::management);
    if (pci.destination == rina::kThisHop) {
        out.kind = Kind::management;
        out.port = pdu.arrival;
        if (!management) drop(out, DropReason::dif_no_destination);
        return false;
    }
    if (!may_come(pci.source, pdu.arrival)) [[unlikely]] {
        drop(out, DropReason::dif_wrong_source);
        return false;
    }
    if (is_own(pci.destination)) {
        out.kind = management ? Kind::management : Kind::local;
        out.port = pdu.arrival;
        return false;
    }
    if (pci.ttl == 0) [[unlikely]] {
        drop(out, DropReason::dif_ttl_expired);
        return false;
    }
    return true;
}

[[gnu::always_inline]] inline void Rmt::forward(const RxPdu& pdu, const Pft& pft,
                                                const N1PortSet& up,
                                                Decision& out) const noexcept {
    const NextPort next = pft.route(out.pci, up);
    if (next.status != RouteStatus::found) [[unlikely]]
        return drop(out, next.status == RouteStatus::down ? DropReason::dif_n1_down
                                                          : DropReason::dif_no_route);
    if (next.port == pdu.arrival && params_.split_horizon) [[unlikely]]
        return drop(out, DropReason::dif_returning);
    out.kind = Kind::forward;
    out.port = next.port;
    const int hops = faults::is_active(faults::Fault::ttl_not_counted) ? 0 : 1;
    const auto ttl = static_cast<std::uint16_t>(out.pci.ttl - hops);
    rina::detail::store(pdu.head + PciFormat::kTtlAt, ttl);
    if (params_.inet_checksum)
        rina::detail::store(pdu.head + PciFormat::kChecksumAt,
                            rina::adjust_inet_checksum(out.pci.checksum, out.pci.ttl, ttl));
}

template <bool kDefault>
void Rmt::decide_all(std::span<const RxPdu> pdus, const Pft& pft, const N1PortSet& up,
                     std::span<Decision> out) const noexcept {
    if (!pft.is_large()) [[likely]] {
        for (std::size_t i = 0; i < pdus.size(); ++i)
            if (look<kDefault>(pdus[i], out[i])) forward(pdus[i], pft, up, out[i]);
        return;
    }
    // Twice over a few PDUs: when the second pass looks an address up, its line is on the way.
    std::array<std::uint8_t, kChunk> relayed;
    for (std::size_t begin = 0; begin < pdus.size(); begin += kChunk) {
        const std::size_t end = std::min(begin + kChunk, pdus.size());
        std::size_t count = 0;
        for (std::size_t i = begin; i < end; ++i) {
            relayed[count] = static_cast<std::uint8_t>(i - begin);
            if (!look<kDefault>(pdus[i], out[i])) continue;
            pft.prefetch(out[i].pci.destination);
            ++count;
        }
        for (std::size_t n = 0; n < count; ++n)
            forward(pdus[begin + relayed[n]], pft, up, out[begin + relayed[n]]);
    }
}

void Rmt::decide(std::span<const RxPdu> pdus, const Pft& pft, const N1PortSet& up,
                 std::span<Decision> out) const noexcept {
    SLUICE_DCHECK(out.size() >= pdus.size());
    if (params_.format == rina::kDefaultFormat)
        decide_all<true>(pdus, pft, up, out);
    else
        decide_all<false>(pdus, pft, up, out);
}

Decision Rmt::send(const rina::Pci& pci, const Pft& pft, const N1PortSet& up) const noexcept {
    Decision out;
    out.pci = pci;
    if (pci.destination == rina::kThisHop) {
        drop(out, DropReason::dif_no_destination);
        return out;
    }
    if (is_own(pci.destination) && !pft.has_entry(pci.destination)) {
        const bool management = pci.type == static_cast<std::uint8_t>(rina::PduType::management);
        out.kind = management ? Kind::management : Kind::local;
        return out;
    }
    const NextPort next = pft.route(pci, up);
    if (next.status != RouteStatus::found) {
        drop(out, next.status == RouteStatus::down ? DropReason::dif_n1_down
                                                   : DropReason::dif_no_route);
        return out;
    }
    out.kind = Kind::forward;
    out.port = next.port;
    return out;
}

void mark_congestion(std::byte* head, bool inet_checksum) noexcept {
    using rina::detail::load;
    using rina::detail::store;
    const auto before = load<std::uint16_t>(head + PciFormat::kFlagsAt);
    const auto after = static_cast<std::uint16_t>(before | rina::pci_flag::kEcn);
    store(head + PciFormat::kFlagsAt, after);
    if (!inet_checksum) return;
    const auto checksum = load<std::uint16_t>(head + PciFormat::kChecksumAt);
    store(head + PciFormat::kChecksumAt, rina::adjust_inet_checksum(checksum, before, after));
}

}  // namespace sluice::rmt
