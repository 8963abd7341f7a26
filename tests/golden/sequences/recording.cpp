#include "recording.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <iterator>

#include "pcap_writer/pcap_reader.hpp"
#include "shim_eth/core/frame.hpp"

namespace sluice::golden {

unsigned be16(View bytes, std::size_t at) {
    return (std::to_integer<unsigned>(bytes[at]) << 8) | std::to_integer<unsigned>(bytes[at + 1]);
}

std::uint32_t be32(View bytes, std::size_t at) {
    return (be16(bytes, at) << 16) | be16(bytes, at + 2);
}

rina::Pci Frame::pci() const {
    rina::Pci pci;
    static_cast<void>(rina::parse(body(), body().size(), rina::kDefaultFormat, pci));
    return pci;
}

bool Frame::is_management() const {
    return !is_arp && pci().type == static_cast<std::uint8_t>(rina::PduType::management);
}

rina::CdapMessage Frame::message() const {
    auto message = rina::decode_cdap(payload());
    return message ? std::move(*message) : rina::CdapMessage();
}

std::string Frame::name() const { return fmt::format("{} frame {}", file, number); }

namespace {

// Of Ethernet; nothing if the frame is none of RINA's in this VLAN.
std::optional<Frame> ethernet(View bytes, const Lower& lower) {
    const shim_eth::ParsedHeader header = shim_eth::parse_header(bytes);
    if (header.size == 0 || header.vlan != lower.vlan) return std::nullopt;
    Frame frame;
    frame.bytes.assign(bytes.begin(), bytes.end());
    frame.head = header.size;
    frame.ours = header.source == lower.mac;
    frame.is_arp = header.ether_type == rina::kEtherTypeArp;
    rina::RinaArp arp;
    if (frame.is_arp ? rina::parse(frame.body(), arp) != rina::ArpError::none
                     : header.ether_type != rina::kEtherTypeRina)
        return std::nullopt;
    return frame;
}

// Of UDP (RFC 768) over IPv4 (RFC 791).
std::optional<Frame> datagram(View bytes, const Lower& lower) {
    if (be16(bytes, 12) != 0x0800 || bytes[23] != std::byte{17}) return std::nullopt;
    const View ip = bytes.subspan(14);
    const View udp = ip.subspan(20);
    Frame frame;
    const auto append = [&frame](View part) {
        frame.bytes.insert(frame.bytes.end(), part.begin(), part.end());
    };
    append(ip.subspan(12, 4));
    append(udp.subspan(0, 2));
    append(ip.subspan(16, 4));
    append(udp.subspan(2, 2));
    append(udp.subspan(8, be16(udp, 4) - 8));
    frame.head = kUdpHead;
    frame.ours = be32(ip, 12) == lower.address;
    return frame;
}

}  // namespace

Result<std::vector<Frame>> read_frames(const std::string& directory,
                                       const std::vector<Lower>& lowers) {
    std::vector<Frame> frames;
    for (std::size_t lower = 0; lower < lowers.size(); ++lower) {
        for (const Lower::File& file : lowers[lower].files) {
            std::ifstream in(directory + "/" + file.name, std::ios::binary);
            const std::string text{std::istreambuf_iterator<char>(in), {}};
            SLUICE_TRY(auto reader, pcap::Reader::open(std::as_bytes(std::span(text)), file.name));
            for (unsigned number = 1;; ++number) {
                SLUICE_TRY(const auto record, reader.next());
                if (!record) break;
                auto frame = lowers[lower].over_udp ? datagram(record->data, lowers[lower])
                                                    : ethernet(record->data, lowers[lower]);
                if (!frame) continue;
                frame->at = Instant{record->wall_ns} + file.late;
                frame->file = file.name;
                frame->number = number;
                frame->lower = lower;
                frames.push_back(std::move(*frame));
            }
        }
    }
    std::stable_sort(frames.begin(), frames.end(),
                     [](const Frame& a, const Frame& b) { return a.at < b.at; });
    return frames;
}

}  // namespace sluice::golden
