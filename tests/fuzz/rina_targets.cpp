#include "rina_targets.hpp"

#include <algorithm>
#include <array>
#include <vector>

#include "base/check.hpp"
#include "rina/cdap.hpp"
#include "rina/inet_checksum.hpp"
#include "rina/objects.hpp"
#include "rina/pci.hpp"
#include "rina/rina_arp.hpp"
#include "rina/rlite_name.hpp"
#include "target.hpp"

namespace sluice::fuzz {

using namespace sluice::rina;

namespace {

using View = std::span<const std::byte>;

// Values are compared by what they are written as: a NaN is not equal to itself.
template <typename T, typename Decode>
void check_stable(const T& value, Decode decode) {
    const Bytes full = encode(value);
    const Bytes sparse = encode(value, Emission::sparse);
    SLUICE_CHECK(sparse.size() <= full.size());
    for (const Bytes* bytes : {&full, &sparse}) {
        const auto again = decode(*bytes);
        SLUICE_CHECK(again.has_value());
        SLUICE_CHECK(encode(*again) == full);
        SLUICE_CHECK(encode(*again, Emission::sparse) == sparse);
    }
    Bytes small(full.size() / 2);
    SLUICE_CHECK(encode(value, small) == full.size());
}

template <typename T>
bool object(View bytes) {
    const auto value = decode<T>(bytes);
    if (!value) {
        SLUICE_CHECK(!value.error().message.empty());
        return false;
    }
    check_stable(*value, [](View again) { return decode<T>(again); });
    return true;
}

// 1 to 8 in the order of RibObject.
constexpr bool (*kObjects[])(View) = {
    object<AppName>,        object<EnrollmentInfo>,   object<NeighborCandidateList>,
    object<LowerFlowList>,  object<DftSlice>,         object<AddrAllocRequest>,
    object<AddrAllocEntries>, object<FlowRequest>,    object<AData>,
    object<DataTransferConstants>, object<NeighborCandidate>, object<LowerFlow>,
    object<DftEntry>,       object<ConnId>,           object<Property>,
    object<PolicyDescr>,    object<QosSpec>,          object<WindowCfg>,
    object<RateCfg>,        object<FlowCtrlConfig>,   object<RtxCtrlConfig>,
    object<DtcpConfig>,     object<ConnPolicies>,
};

constexpr PciFormat kFormats[] = {
    kDefaultFormat, kWideFormat, {1, 1, 1, 1, 1}, {8, 8, 4, 4, 2}, {2, 1, 2, 2, 1}, {4, 2, 1, 8, 8},
};

}  // namespace

bool rina_pci(View bytes) {
    if (bytes.empty()) return false;
    const auto pick = std::to_integer<std::size_t>(bytes[0]) % std::size(kFormats);
    const PciFormat& format = kFormats[pick];
    const View frame = bytes.subspan(1);
    Pci pci;
    if (parse(frame, frame.size(), format, pci) != PciError::none) return false;
    const View pdu = frame.first(pci.length);
    Bytes again(pdu.begin(), pdu.end());
    std::fill_n(again.begin(), format.bytes(), std::byte{0xee});
    write(pci, format, again.data());
    if (is_control(pci.type)) {
        const ControlPdu control = parse_control(pdu, format);
        std::fill_n(again.begin() + static_cast<long>(format.bytes()),
                    format.control_bytes() - format.bytes(), std::byte{0xee});
        write_control(control, format, again.data());
    }
    // A QoS-id has 16 bits, whatever its field has.
    if (format.qos <= 2) SLUICE_CHECK(std::equal(pdu.begin(), pdu.end(), again.begin()));
    Pci second;
    SLUICE_CHECK(parse(again, again.size(), format, second) == PciError::none && second == pci);

    seal_inet_checksum(again);
    SLUICE_CHECK(has_inet_checksum(again));
    rewrite_ttl(again.data(), static_cast<std::uint16_t>(pci.ttl - 1));
    SLUICE_CHECK(detail::load<std::uint16_t>(again.data() + PciFormat::kChecksumAt) ==
                 inet_checksum(again));
    return true;
}

bool rina_cdap(View bytes) {
    const auto message = decode_cdap(bytes);
    if (!message) {
        SLUICE_CHECK(!message.error().message.empty());
        return false;
    }
    check_stable(*message, decode_cdap);
    static_cast<void>(check(*message));
    if (const auto rib = object_of(*message); rib && rib->index() != 0) {
        const ObjValue value = value_of(*rib);
        CdapMessage again = *message;
        again.value = value;
        const auto second = object_of(again);
        SLUICE_CHECK(second.has_value() && value_of(*second) == value);
    }
    return true;
}

bool rina_object(View bytes) {
    if (bytes.empty()) return false;
    const auto pick = std::to_integer<std::size_t>(bytes[0]) % std::size(kObjects);
    return kObjects[pick](bytes.subspan(1));
}

bool rina_arp(View bytes) {
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (const auto name = parse_rlite_name(text)) {
        const std::string again = rlite_name(*name);
        SLUICE_CHECK(again.size() <= text.size());
        SLUICE_CHECK(parse_rlite_name(again) == *name);
    }
    RinaArp arp;
    if (parse(bytes, arp) != ArpError::none) return false;
    std::array<std::byte, kRinaArpBytesMax> again;
    const std::size_t size = write(arp, again);
    SLUICE_CHECK(size > 0 && size <= bytes.size());
    RinaArp second;
    SLUICE_CHECK(parse(std::span(again).first(size), second) == ArpError::none);
    SLUICE_CHECK(second == arp && names(arp.target, arp.target));
    return true;
}

std::span<const Target> targets() noexcept {
    static constexpr Target kTargets[] = {
        {"rina_pci", rina_pci},
        {"rina_cdap", rina_cdap},
        {"rina_object", rina_object},
        {"rina_arp", rina_arp},
    };
    return kTargets;
}

}  // namespace sluice::fuzz
