// Writes a few records and compares the file, byte for byte, with the one that is checked in;
// with --regen it replaces that one. usage: golden_pcap DIRECTORY [--regen]

#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "pcap_writer/pcap.hpp"
#include "../whole_file.hpp"
#include "pcap_writer/pcap_reader.hpp"

using namespace sluice;

namespace {

struct Case {
    const char* file;
    pcap::Linktype linktype;
    pcap::Resolution resolution;
    std::uint32_t snaplen;
};
constexpr Case kCases[] = {
    {"ethernet_ns.pcap", pcap::Linktype::ethernet, pcap::Resolution::ns, 65535},
    {"user0_us.pcap", pcap::Linktype::user0, pcap::Resolution::us, 64},
};

// Broadcast frames of the local experimental EtherType 0x88b5 (IEEE 802, 9.2.3).
std::vector<std::byte> frame(unsigned length) {
    std::vector<std::byte> f(length);
    for (unsigned i = 0; i < length; ++i)
        f[i] = static_cast<std::byte>(i < 6 ? 0xff : i < 12 ? 0x02 : i);
    if (length >= 14) {
        f[12] = std::byte{0x88};
        f[13] = std::byte{0xb5};
    }
    return f;
}

std::vector<std::byte> records_of(const Case& c) {
    std::vector<std::byte> out;
    const auto append = [&out](pcap::Bytes b) { out.insert(out.end(), b.begin(), b.end()); };
    append(pcap::file_header(c.linktype, c.resolution, c.snaplen));
    std::int64_t wall_ns = 1'600'000'000'999'999'000;
    for (const unsigned length : {60u, 14u, 64u, 65u, 200u, 0u}) {
        const std::vector<std::byte> f = frame(length);
        const std::uint32_t kept = std::min(length, c.snaplen);
        std::byte header[pcap::kRecordHeaderBytes];
        pcap::put_record_header(header, pcap::stamp_of(wall_ns, c.resolution), kept, length);
        append(header);
        append(pcap::Bytes(f).first(kept));
        wall_ns += 1'001;
    }
    return out;
}

Result<> compare(const std::string& path, pcap::Bytes made) {
    SLUICE_TRY(const std::vector<std::byte> golden, test::load_file(path));
    for (std::size_t i = 0; i < std::min(golden.size(), made.size()); ++i)
        if (golden[i] != made[i])
            return fail(EINVAL, "{}: byte {} is {:#04x}, expected {:#04x}", path, i,
                        std::to_integer<int>(made[i]), std::to_integer<int>(golden[i]));
    if (golden.size() != made.size())
        return fail(EINVAL, "{}: {} bytes, expected {}", path, made.size(), golden.size());
    return {};
}

Result<> run(const std::string& directory, bool regen) {
    for (const Case& c : kCases) {
        const std::string path = directory + "/" + c.file;
        const std::vector<std::byte> made = records_of(c);
        if (!regen) {
            SLUICE_TRY_VOID(compare(path, made));
            continue;
        }
        SLUICE_TRY_VOID(test::save_file(path, made));
    }
    return {};
}

}  // namespace

int main(int argc, char** argv) {
    const bool regen = argc == 3 && std::strcmp(argv[2], "--regen") == 0;
    if (argc != 2 && !regen) {
        std::fprintf(stderr, "usage: %s DIRECTORY [--regen]\n", argv[0]);
        return 2;
    }
    if (auto r = run(argv[1], regen); !r) {
        std::fprintf(stderr, "%s\n", r.error().message.c_str());
        return 1;
    }
    return 0;
}
