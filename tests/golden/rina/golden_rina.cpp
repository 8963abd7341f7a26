// Takes the traffic of rlite nodes (tests/data/rlite) through our codecs: every frame is decoded to
// values (PCI, control PDU, CDAP message, object, and within A_DATA message and object again), and
// the frame that is written from these values must be the same, byte for byte. An unknown field
// would be lost on the way, so there is none. What was seen is counted and compared, so that
// nothing is skipped unnoticed.
//
// Another run of the same nodes differs in: the addresses that b and c are given (drawn at random),
// the ephemeral UDP ports of s6, the age of routing entries and the number of keepalives and
// control PDUs (by the clock), rinaperf's results, and the IPv6 noise of the guests. Port-ids,
// CEP-ids, invoke ids and sequence numbers are counters.
//
// usage: golden_rina DIRECTORY [--corpus DIRECTORY]: also writes one file of each kind, for the
// fuzz targets.

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "pcap_writer/pcap_reader.hpp"
#include "rina/cdap.hpp"
#include "rina/inet_checksum.hpp"
#include "rina/objects.hpp"
#include "rina/pci.hpp"
#include "rina/rina_arp.hpp"

using namespace sluice;
using namespace sluice::rina;

namespace {

using View = std::span<const std::byte>;

const std::map<std::string, unsigned> kExpected = {
    {"ARP for IPv4", 4}, {"IPv6", 81}, {"M_CONNECT", 6}, {"M_CONNECT_R", 6},
    {"M_CREATE aa_entries", 6}, {"M_CREATE aareq", 1}, {"M_CREATE dft_entries", 7},
    {"M_CREATE flow in A_DATA", 28}, {"M_CREATE lfdb_entries", 30}, {"M_CREATE neigh_entries", 17},
    {"M_CREATE_R flow in A_DATA", 28}, {"M_DELETE dft_entries", 2},
    {"M_DELETE flow in A_DATA", 28}, {"M_READ keepalive", 8}, {"M_READ_R keepalive", 8},
    {"M_RELEASE", 2}, {"M_START enrollment", 6}, {"M_START operational_status", 6},
    {"M_START_R enrollment", 6}, {"M_STOP enrollment", 6}, {"M_STOP_R enrollment", 6},
    {"M_WRITE a_data by address", 84}, {"M_WRITE nack-wait", 6}, {"M_WRITE policy", 18},
    {"PDU with a checksum", 38}, {"PDU with another TTL", 71}, {"RINA-ARP reply", 6},
    {"RINA-ARP request", 15}, {"SDU of an application", 2}, {"control PDU 0xc8", 29},
    {"control PDU 0xcc", 40}, {"data PDU", 269}, {"data PDU with DRF", 53}, {"datagram", 34},
    {"file", 23}, {"frame with a VLAN tag", 54}, {"management PDU", 231}, {"object a_data", 84},
    {"object aa_entries", 6}, {"object aareq", 1}, {"object dft_entries", 9},
    {"object enrollment", 18}, {"object flow", 56}, {"object lfdb_entries", 30},
    {"object neigh_entries", 17},
};

unsigned be16(View bytes, std::size_t at) {
    return (std::to_integer<unsigned>(bytes[at]) << 8) | std::to_integer<unsigned>(bytes[at + 1]);
}

class Golden {
  public:
    explicit Golden(std::filesystem::path corpus) : corpus_(std::move(corpus)) {}

    Result<> file(const std::filesystem::path& path);
    const std::map<std::string, unsigned>& counts() const { return counts_; }

  private:
    Result<> frame(View bytes);
    Result<> udp(View packet);
    Result<> arp(View bytes);
    Result<> pdu(View bytes);
    Result<> management(View bytes, std::string_view way);
    Result<CdapMessage> rebuilt(CdapMessage message, Emission emission);
    void seen(const CdapMessage& message, View bytes, std::string_view way);

    Result<> same(View original, View ours, std::string_view what);
    void count(std::string_view folder, const std::string& kind, View bytes,
               std::optional<std::uint8_t> selector = {});

    std::filesystem::path corpus_;
    std::map<std::string, unsigned> counts_;
    bool has_pci_ = true;
    // Endpoints of rlite's UDP shim in this file: one has spoken to or from its well-known port.
    std::set<std::pair<std::string, unsigned>> endpoints_;
};

void Golden::count(std::string_view folder, const std::string& kind, View bytes,
                   std::optional<std::uint8_t> selector) {
    if (counts_[kind]++ != 0 || corpus_.empty() || folder.empty()) return;
    std::string name = kind;
    std::replace_if(
        name.begin(), name.end(), [](char c) { return c == ' ' || c == '/'; }, '_');
    std::filesystem::create_directories(corpus_ / folder);
    std::ofstream out(corpus_ / folder / name, std::ios::binary);
    if (selector) out.put(static_cast<char>(*selector));
    out.write(reinterpret_cast<const char*>(bytes.data()),
              static_cast<std::streamsize>(bytes.size()));
}

Result<> Golden::same(View original, View ours, std::string_view what) {
    if (std::equal(original.begin(), original.end(), ours.begin(), ours.end())) return {};
    const auto [a, b] =
        std::mismatch(original.begin(), original.end(), ours.begin(), ours.end());
    return fail(EBADMSG, "{} of {} bytes became {} bytes; first difference at byte {}", what,
                original.size(), ours.size(), a - original.begin());
}

Result<> Golden::file(const std::filesystem::path& path) {
    std::ifstream in(path, std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    // There the SDUs of the application lie behind the Ethernet header.
    has_pci_ = path.filename().string().find("no-normal-dif") == std::string::npos;
    endpoints_.clear();
    counts_["file"]++;
    SLUICE_TRY(auto reader, pcap::Reader::open(std::as_bytes(std::span(text)), path.string()));
    for (unsigned number = 1;; ++number) {
        SLUICE_TRY(const auto record, reader.next());
        if (!record) return {};
        if (record->data.size() != record->original)
            return fail(EBADMSG, "{}: frame {} was cut", path.string(), number);
        if (const auto result = frame(record->data); !result)
            return fail(result.error().code, "{}: frame {}: {}", path.filename().string(), number,
                        result.error().message);
    }
}

Result<> Golden::frame(View bytes) {
    std::size_t at = 12;
    if (be16(bytes, at) == 0x8100) {
        at += 4;
        counts_["frame with a VLAN tag"]++;
    }
    const unsigned type = be16(bytes, at);
    const View payload = bytes.subspan(at + 2);
    if (type == kEtherTypeRina) return pdu(payload);
    if (type == kEtherTypeArp) return arp(payload);
    if (type == 0x0800) return udp(payload);
    if (type != 0x86dd) return fail(EBADMSG, "EtherType {:#06x}", type);
    counts_["IPv6"]++;
    return {};
}

// RFC 768 over RFC 791.
Result<> Golden::udp(View packet) {
    if (packet[9] != std::byte{17}) return fail(EBADMSG, "IPv4, but not UDP");
    const std::size_t header = 4 * (std::to_integer<std::size_t>(packet[0]) & 15);
    const auto address = [&](std::size_t at) {
        return std::string(reinterpret_cast<const char*>(packet.data()) + at, 4);
    };
    const std::pair from{address(12), be16(packet, header)};
    const std::pair to{address(16), be16(packet, header + 2)};
    constexpr unsigned kShimPort = 3359;
    if (to.second != kShimPort && !endpoints_.contains(to) && !endpoints_.contains(from))
        return fail(EBADMSG, "UDP between ports {} and {}", from.second, to.second);
    endpoints_.insert(from);
    counts_["datagram"]++;
    return pdu(packet.subspan(header + 8, be16(packet, header + 4) - 8));
}

Result<> Golden::arp(View bytes) {
    RinaArp arp;
    const ArpError error = parse(bytes, arp);
    if (error == ArpError::other_protocol) {
        counts_["ARP for IPv4"]++;
        return {};
    }
    if (error != ArpError::none) return fail(EBADMSG, "RINA-ARP error {}", int(error));
    count("rina_arp", arp.operation == RinaArp::Operation::request ? "RINA-ARP request"
                                                              : "RINA-ARP reply", bytes);
    Bytes again(kRinaArpBytesMax);
    again.resize(write(arp, again));
    return same(bytes, again, "RINA-ARP");
}

Result<> Golden::pdu(View bytes) {
    if (!has_pci_) {
        counts_["SDU of an application"]++;
        return {};
    }
    Pci pci;
    const PciError error = parse(bytes, bytes.size(), kDefaultFormat, pci);
    if (error != PciError::none) return fail(EBADMSG, "PCI error {}", int(error));
    if (pci.length != bytes.size()) return fail(EBADMSG, "padding behind the PDU");
    if (pci.checksum != 0) {
        counts_["PDU with a checksum"]++;
        if (!has_inet_checksum(bytes) || inet_checksum(bytes) != pci.checksum)
            return fail(EBADMSG, "checksum {:#06x} instead of {:#06x}", pci.checksum,
                        inet_checksum(bytes));
    }
    if (pci.ttl != kTtlDefault) counts_["PDU with another TTL"]++;
    Bytes again(kDefaultFormat.bytes());
    const View body = bytes.subspan(kDefaultFormat.bytes());
    if (is_control(pci.type)) {
        count("rina_pci", fmt::format("control PDU {:#04x}", pci.type), bytes, std::uint8_t{0});
        again.resize(kDefaultFormat.control_bytes());
        write_control(parse_control(bytes, kDefaultFormat), kDefaultFormat, again.data());
    } else if (pci.type == static_cast<std::uint8_t>(PduType::management)) {
        count("rina_pci", "management PDU", bytes, std::uint8_t{0});
        const bool to_neighbor = pci.destination == kThisHop;
        SLUICE_TRY_VOID(management(body, to_neighbor ? "" : " by address"));
        again.insert(again.end(), body.begin(), body.end());
    } else {
        const bool is_first = (pci.flags & pci_flag::kDrf) != 0;
        count("rina_pci", is_first ? "data PDU with DRF" : "data PDU", bytes, std::uint8_t{0});
        again.insert(again.end(), body.begin(), body.end());
    }
    write(pci, kDefaultFormat, again.data());
    return same(bytes, again, "PDU");
}

void Golden::seen(const CdapMessage& message, View bytes, std::string_view way) {
    const bool has_class = !message.obj_class.empty();
    count("rina_cdap", fmt::format("{}{}{}{}", to_string(message.op), has_class ? " " : "",
                              message.obj_class, way), bytes);
    const auto object = object_of(message);
    const auto* value = std::get_if<Bytes>(&message.value);
    if (object && value != nullptr)
        count("rina_object", "object " + message.obj_class, *value,
              static_cast<std::uint8_t>(object->index()));
}

// The message made anew from nothing but its values.
Result<CdapMessage> Golden::rebuilt(CdapMessage message, Emission emission) {
    SLUICE_TRY(RibObject object, object_of(message));
    if (object.index() == 0 && std::holds_alternative<Bytes>(message.value))
        return fail(EBADMSG, "class {} has a value that is not understood", message.obj_class);
    if (auto* a_data = std::get_if<AData>(&object)) {
        SLUICE_TRY_VOID(check(a_data->message));
        SLUICE_TRY(a_data->message, rebuilt(std::move(a_data->message), emission));
    }
    if (object.index() != 0) message.value = value_of(object, emission);
    return message;
}

Result<> Golden::management(View bytes, std::string_view way) {
    SLUICE_TRY(const CdapMessage message, decode_cdap(bytes));
    SLUICE_TRY_VOID(check(message));
    seen(message, bytes, way);
    SLUICE_TRY(const RibObject object, object_of(message));
    if (const auto* a_data = std::get_if<AData>(&object))
        seen(a_data->message, encode(a_data->message), " in A_DATA");

    SLUICE_TRY(const CdapMessage again, rebuilt(message, Emission::as_rlite));
    SLUICE_TRY_VOID(same(bytes, encode(again), "CDAP message"));

    // The other emission is shorter and says the same: written as rlite would, it is what it was.
    SLUICE_TRY(const CdapMessage small, rebuilt(message, Emission::sparse));
    const Bytes sparse = encode(small, Emission::sparse);
    if (sparse.size() >= bytes.size()) return fail(EBADMSG, "the sparse emission is not shorter");
    SLUICE_TRY(const CdapMessage read, decode_cdap(sparse));
    SLUICE_TRY(const CdapMessage full, rebuilt(read, Emission::as_rlite));
    return same(bytes, encode(full), "CDAP message by way of the sparse emission");
}

bool as_expected(const std::map<std::string, unsigned>& counts) {
    bool good = true;
    for (const auto& [kind, count] : counts) {
        const auto expected = kExpected.find(kind);
        if (expected != kExpected.end() && expected->second == count) continue;
        fmt::print("    {{\"{}\", {}}},  // expected {}\n", kind, count,
                   expected == kExpected.end() ? 0 : expected->second);
        good = false;
    }
    for (const auto& [kind, count] : kExpected) {
        if (counts.contains(kind)) continue;
        fmt::print("no {}, expected {}\n", kind, count);
        good = false;
    }
    return good;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 2) {
        fmt::print(stderr, "usage: golden_rina DIRECTORY [--corpus DIRECTORY]\n");
        return 2;
    }
    Golden golden(argc == 4 ? argv[3] : "");
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(argv[1]))
        if (entry.path().extension() == ".pcap") files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    for (const auto& path : files) {
        if (const auto result = golden.file(path); !result) {
            fmt::print("{}\n", result.error().message);
            return 1;
        }
    }
    if (!as_expected(golden.counts())) return 1;
    fmt::print("{} files: every frame is written as rlite wrote it\n", files.size());
    return 0;
}
