// Reads every capture of a folder, writes its packets with our encoders in four ways, reads these
// back and compares: same packets, same bytes, same order. Leaves the four files for other tools
// to read: OUT/ns.pcap/NAME, OUT/us.pcap/NAME, OUT/ns.pcapng/NAME, OUT/us.pcapng/NAME.
// usage: captures_codec IN OUT

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "../whole_file.hpp"
#include "pcap_writer/pcap.hpp"
#include "pcap_writer/pcap_reader.hpp"
#include "pcap_writer/pcapng.hpp"
#include "pcap_writer/pcapng_reader.hpp"

using namespace sluice;
using pcap::Resolution;

namespace {

struct Capture {
    std::vector<pcap::NgRecord> packets;
    // Of all sections, one after the other; the packets' interface_id counts in these.
    std::vector<pcap::Linktype> interfaces;
    std::string stopped_by;  // an error of the reader, after the packets in front of it
};

Capture read_pcap(pcap::Bytes bytes, const std::string& name) {
    Capture c;
    auto reader = pcap::Reader::open(bytes, name);
    if (!reader) {
        c.stopped_by = reader.error().message;
        return c;
    }
    c.interfaces = {reader->linktype()};
    for (;;) {
        auto record = reader->next();
        if (!record) c.stopped_by = record.error().message;
        if (!record || !*record) return c;
        pcap::NgRecord packet;
        packet.record = **record;
        packet.linktype = reader->linktype();
        c.packets.push_back(packet);
    }
}

Capture read_pcapng(pcap::Bytes bytes, const std::string& name) {
    Capture c;
    auto reader = pcap::NgReader::open(bytes, name);
    if (!reader) {
        c.stopped_by = reader.error().message;
        return c;
    }
    std::uint32_t section = 1;
    std::size_t first = 0;  // interface of the section
    for (;;) {
        auto record = reader->next();
        if (reader->sections() != section) {
            section = reader->sections();
            first = c.interfaces.size();
        }
        for (std::size_t i = c.interfaces.size() - first; i < reader->interfaces().size(); ++i)
            c.interfaces.push_back(reader->interfaces()[i].linktype);
        if (!record) c.stopped_by = record.error().message;
        if (!record || !*record) return c;
        pcap::NgRecord packet = **record;
        packet.interface_id += static_cast<std::uint32_t>(first);
        c.packets.push_back(packet);
    }
}

Capture read_any(pcap::Bytes bytes, const std::string& name) {
    const bool ng = bytes.size() >= 4 && pcap::get_le32(bytes.data()) == pcap::kNgSectionHeader;
    return ng ? read_pcapng(bytes, name) : read_pcap(bytes, name);
}

using File = std::vector<std::byte>;

void append(File& file, pcap::Bytes bytes) {
    file.insert(file.end(), bytes.begin(), bytes.end());
}

File write_pcap(const Capture& c, Resolution resolution) {
    File f;
    append(f, pcap::file_header(c.interfaces.at(0), resolution, pcap::kSnaplenMax));
    for (const pcap::NgRecord& p : c.packets) {
        std::byte h[pcap::kRecordHeaderBytes];
        pcap::put_record_header(h, pcap::stamp_of(p.record.wall_ns, resolution),
                                static_cast<std::uint32_t>(p.record.data.size()),
                                p.record.original);
        append(f, h);
        append(f, p.record.data);
    }
    return f;
}

File write_pcapng(const Capture& c, Resolution resolution) {
    File f = pcap::section_header({.application = "captures_codec"});
    for (const pcap::Linktype linktype : c.interfaces)
        append(f, pcap::interface_description({.linktype = linktype, .resolution = resolution}));
    std::uint64_t number = 0;
    for (const pcap::NgRecord& p : c.packets) {
        const auto captured = static_cast<std::uint32_t>(p.record.data.size());
        const bool counts = ++number % 3 == 0;
        File block(pcap::epb_bytes(captured, counts), std::byte{0xff});
        pcap::put_epb_head(block.data(), p.interface_id, p.record.wall_ns, resolution, captured,
                           p.record.original, counts);
        std::copy(p.record.data.begin(), p.record.data.end(),
                  block.begin() + pcap::kEpbHeadBytes);
        pcap::put_epb_tail(block.data(), captured, pcap::kEpbInbound,
                           counts ? std::optional(number) : std::nullopt);
        append(f, block);
    }
    return f;
}

// A stamp after it was written and read. Classic pcap ends in 2106.
std::int64_t expected_ns(std::int64_t wall_ns, bool ng, Resolution resolution) {
    const std::int64_t unit = pcap::ns_per_fraction(resolution);
    if (!ng) wall_ns = std::min<std::int64_t>(wall_ns, 0x1'0000'0000ll * 1'000'000'000 - 1);
    return std::max<std::int64_t>(wall_ns, 0) / unit * unit;
}

// Nothing if `again` has what `c` has, at most with coarser stamps.
std::string difference(const Capture& c, const Capture& again, bool ng, Resolution resolution) {
    if (!again.stopped_by.empty()) return again.stopped_by;
    if (c.packets.size() != again.packets.size())
        return fmt::format("{} packets, expected {}", again.packets.size(), c.packets.size());
    for (std::size_t i = 0; i < c.packets.size(); ++i) {
        const pcap::NgRecord& a = c.packets[i];
        const pcap::NgRecord& b = again.packets[i];
        const std::int64_t wall_ns = expected_ns(a.record.wall_ns, ng, resolution);
        if (b.record.wall_ns != wall_ns)
            return fmt::format("packet {} at {} ns, expected {}", i + 1, b.record.wall_ns, wall_ns);
        if (b.record.original != a.record.original || b.linktype != a.linktype ||
            b.interface_id != a.interface_id)
            return fmt::format("packet {} has {} bytes, linktype {} and interface {}, expected {}, "
                               "{} and {}", i + 1, b.record.original,
                               static_cast<unsigned>(b.linktype), b.interface_id,
                               a.record.original, static_cast<unsigned>(a.linktype),
                               a.interface_id);
        if (!std::equal(a.record.data.begin(), a.record.data.end(), b.record.data.begin(),
                        b.record.data.end()))
            return fmt::format("packet {} has other bytes", i + 1);
    }
    return {};
}

struct Totals {
    unsigned files = 0, broken = 0, packets = 0, cut = 0, bad = 0;
    std::set<pcap::Linktype> linktypes;
};

Result<> convert(const std::filesystem::path& in, const std::filesystem::path& out, Totals& total) {
    const std::string name = in.filename().string();
    SLUICE_TRY(const File bytes, test::load_file(in.string()));
    const Capture c = read_any(bytes, name);
    if (!c.stopped_by.empty()) {
        ++total.broken;
        fmt::print("{}\n", c.stopped_by);
    }
    if (c.interfaces.empty()) return {};
    ++total.files;
    for (const pcap::NgRecord& p : c.packets) {
        ++total.packets;
        total.cut += p.record.data.size() < p.record.original ? 1 : 0;
        total.linktypes.insert(p.linktype);
    }
    const bool one_linktype = std::all_of(c.interfaces.begin(), c.interfaces.end(),
                                          [&c](auto l) { return l == c.interfaces[0]; });
    for (const char* kind : {"ns.pcap", "us.pcap", "ns.pcapng", "us.pcapng"}) {
        const bool ng = std::string(kind).ends_with("pcapng");
        const Resolution resolution = kind[0] == 'n' ? Resolution::ns : Resolution::us;
        if (!ng && !one_linktype) continue;  // cannot be said there
        const File made = ng ? write_pcapng(c, resolution) : write_pcap(c, resolution);
        Capture expected = c;
        if (!ng)
            for (pcap::NgRecord& p : expected.packets) p.interface_id = 0;
        const std::string wrong = difference(expected, read_any(made, name), ng, resolution);
        if (!wrong.empty()) {
            ++total.bad;
            fmt::print("{} as {}: {}\n", name, kind, wrong);
        }
        SLUICE_TRY_VOID(test::save_file((out / kind / name).string(), made));
    }
    return {};
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) {
        std::fprintf(stderr, "usage: captures_codec IN OUT\n");
        return 2;
    }
    const std::filesystem::path out = argv[2];
    for (const char* kind : {"ns.pcap", "us.pcap", "ns.pcapng", "us.pcapng"})
        std::filesystem::create_directories(out / kind);
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(argv[1]))
        files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    Totals total;
    for (const std::filesystem::path& file : files)
        if (auto done = convert(file, out, total); !done) {
            std::fprintf(stderr, "captures_codec: %s\n", done.error().message.c_str());
            return 1;
        }
    fmt::print("files={} broken={} packets={} cut={} linktypes={} bad={}\n", total.files,
               total.broken, total.packets, total.cut, total.linktypes.size(), total.bad);
    return total.bad == 0 ? 0 : 1;
}
