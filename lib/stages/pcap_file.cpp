#include "stages/pcap_file.hpp"

#include <pcap/pcap.h>

#include <cstdio>
#include <cstring>
#include <ctime>

namespace sluice::stages {

namespace {

constexpr std::int64_t kNsPerSecond = 1'000'000'000;
constexpr std::size_t kBytesMax = std::size_t{4} << 30;
constexpr std::size_t kBuffer = std::size_t{256} << 10;

struct ClosePcap {
    void operator()(pcap_t* p) const noexcept { pcap_close(p); }
};
using PcapPtr = std::unique_ptr<pcap_t, ClosePcap>;

}  // namespace

Result<PcapPackets> read_pcap(const std::string& path, std::uint32_t packet_max) {
    char why[PCAP_ERRBUF_SIZE] = "";
    const PcapPtr file(pcap_open_offline_with_tstamp_precision(
        path.c_str(), PCAP_TSTAMP_PRECISION_NANO, why));
    // libpcap names the path in most of its messages, but not in all.
    if (!file) return fail(ENOENT, "{} cannot be read as a pcap file: {}", path, why);
    PcapPackets packets;
    for (;;) {
        pcap_pkthdr* header = nullptr;
        const u_char* data = nullptr;
        const int got = pcap_next_ex(file.get(), &header, &data);
        if (got == PCAP_ERROR_BREAK) break;
        if (got != 1) {
            return fail(EINVAL, "{}: packet {} cannot be read: {}", path,
                        packets.items.size() + 1, pcap_geterr(file.get()));
        }
        if (header->caplen > packet_max) {
            return fail(EMSGSIZE, "{}: packet {} has {} bytes, at most {} can be sent", path,
                        packets.items.size() + 1, header->caplen, packet_max);
        }
        if (packets.bytes.size() + header->caplen > kBytesMax) {
            return fail(EFBIG, "{} has more than {} GiB of packets, which is all that is loaded",
                        path, kBytesMax >> 30);
        }
        const std::size_t offset = packets.bytes.size();
        const auto* const bytes = reinterpret_cast<const std::byte*>(data);
        packets.bytes.insert(packets.bytes.end(), bytes, bytes + header->caplen);
        packets.items.push_back(
            {offset, header->caplen, header->ts.tv_sec * kNsPerSecond + header->ts.tv_usec});
    }
    if (packets.items.empty()) return fail(EINVAL, "{} has no packets to send", path);
    return packets;
}

struct PcapDump::File {
    PcapPtr pcap;
    std::unique_ptr<char[]> buffer;  // outlives the stream
    pcap_dumper_t* dumper = nullptr;

    ~File() {
        if (dumper != nullptr) pcap_dump_close(dumper);
    }
};

PcapDump::PcapDump(std::unique_ptr<File> file) noexcept : file_(std::move(file)) {}
PcapDump::~PcapDump() = default;

Result<std::unique_ptr<PcapDump>> PcapDump::create(const std::string& path,
                                                   std::uint32_t snaplen) {
    auto file = std::make_unique<File>();
    file->pcap.reset(pcap_open_dead_with_tstamp_precision(
        DLT_EN10MB, static_cast<int>(snaplen), PCAP_TSTAMP_PRECISION_NANO));
    if (!file->pcap) return fail(ENOMEM, "{}: no memory for a pcap file", path);
    FILE* const stream = std::fopen(path.c_str(), "wbe");
    if (stream == nullptr) {
        const int code = errno;
        return fail(code, "{} cannot be written: {}", path, std::strerror(code));
    }
    file->buffer = std::make_unique<char[]>(kBuffer);
    std::setvbuf(stream, file->buffer.get(), _IOFBF, kBuffer);
    file->dumper = pcap_dump_fopen(file->pcap.get(), stream);
    if (file->dumper == nullptr) {
        std::fclose(stream);
        return fail(EIO, "{} cannot be written: {}", path, pcap_geterr(file->pcap.get()));
    }
    std::unique_ptr<PcapDump> dump(new PcapDump(std::move(file)));
    if (!dump->flush()) return fail(EIO, "{} cannot be written: {}", path, std::strerror(errno));
    return dump;
}

bool PcapDump::write(std::int64_t epoch_ns, std::span<const std::byte> captured,
                     std::uint32_t size) noexcept {
    pcap_pkthdr header{};
    // With nanosecond precision tv_usec is the nanoseconds.
    header.ts.tv_sec = epoch_ns / kNsPerSecond;
    header.ts.tv_usec = epoch_ns % kNsPerSecond;
    header.caplen = static_cast<bpf_u_int32>(captured.size());
    header.len = size;
    pcap_dump(reinterpret_cast<u_char*>(file_->dumper), &header,
              reinterpret_cast<const u_char*>(captured.data()));
    return std::ferror(pcap_dump_file(file_->dumper)) == 0;
}

bool PcapDump::flush() noexcept {
    return pcap_dump_flush(file_->dumper) == 0 && std::ferror(pcap_dump_file(file_->dumper)) == 0;
}

std::int64_t epoch_offset_ns(Instant now) noexcept {
    timespec t{};
    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec * kNsPerSecond + t.tv_nsec - now.ns;
}

}  // namespace sluice::stages
