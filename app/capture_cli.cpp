#include "app/capture_cli.hpp"

#include <unistd.h>

#include <charconv>

#include "app/selftest.hpp"
#include "tgen/core/spec.hpp"

namespace sluice::app {
namespace {

Result<std::uint64_t> number(std::string_view what, std::string_view text) {
    auto value = tgen::parse_number(text);
    if (!value) return fail(EINVAL, "{}: {}", what, value.error().message);
    return *value;
}

// "KEY:VALUE" of -b and -a.
struct Condition {
    std::string key;
    std::string value;
};
Result<Condition> condition(const char* option, const std::string& text,
                            const std::string& known) {
    const std::size_t colon = text.find(':');
    if (colon == std::string::npos)
        return fail(EINVAL, "{} {}: expected KEY:VALUE, such as {} filesize:100000; the keys are "
                    "{}", option, text, option, known);
    return Condition{text.substr(0, colon), text.substr(colon + 1)};
}

struct FileLimitsTarget {
    std::uint64_t* bytes;
    std::uint64_t* packets;
    Duration* duration;
    std::uint32_t* files;
};

// dumpcap's units: kilobytes of 1000 bytes, seconds (also with a fraction).
Result<> apply(const char* option, const std::string& text, FileLimitsTarget target) {
    const std::string known = "filesize, duration, packets and files";
    SLUICE_TRY(const Condition c, condition(option, text, known));
    const std::string what = fmt::format("{} {}", option, text);
    if (c.key == "filesize") {
        SLUICE_TRY(const std::uint64_t kb, number(what, c.value));
        constexpr std::uint64_t kMost = std::uint64_t{1} << 50;
        if (kb < 2 || kb > kMost)
            return fail(EINVAL, "{}: expected 2 to {} kilobytes of 1000 bytes", what, kMost);
        *target.bytes = kb * 1000;
    } else if (c.key == "packets") {
        SLUICE_TRY(*target.packets, number(what, c.value));
        if (*target.packets == 0) return fail(EINVAL, "{}: expected at least 1 packet", what);
    } else if (c.key == "files") {
        SLUICE_TRY(const std::uint64_t files, number(what, c.value));
        if (files == 0 || files > 1'000'000)
            return fail(EINVAL, "{}: expected 1 to 1000000 files", what);
        *target.files = static_cast<std::uint32_t>(files);
    } else if (c.key == "duration") {
        const auto bare = tgen::parse_duration(c.value + "s");
        const auto unit = bare ? bare : tgen::parse_duration(c.value);
        if (!unit)
            return fail(EINVAL, "{}: '{}' is no time, expected seconds such as 60 or 0.5", what,
                        c.value);
        *target.duration = *unit;
    } else {
        return fail(EINVAL, "{}: '{}' is no condition, expected one of {}", what, c.key, known);
    }
    return {};
}

// A comma separates interfaces unless a device argument follows it.
std::vector<std::string> split_interfaces(const std::vector<std::string>& given) {
    std::vector<std::string> out;
    for (const std::string& text : given) {
        std::size_t begin = 0;
        for (;;) {
            const std::size_t comma = text.find(',', begin);
            const std::string piece = text.substr(begin, comma - begin);
            if (begin != 0 && piece.find('=') != std::string::npos)
                out.back() += "," + piece;
            else
                out.push_back(piece);
            if (comma == std::string::npos) break;
            begin = comma + 1;
        }
    }
    return out;
}

}  // namespace

Result<> read_disk_limit(const std::string& text, capture::LaneConfig& out) {
    if (text.ends_with("%")) {
        unsigned percent = 0;
        const auto [end, code] =
            std::from_chars(text.data(), text.data() + text.size() - 1, percent);
        if (code != std::errc() || end != text.data() + text.size() - 1 || percent < 1 ||
            percent > 99)
            return fail(EINVAL, "disk limit: '{}', expected 1% to 99% of the file system", text);
        out.disk_limit_percent = percent;
        return {};
    }
    SLUICE_TRY(out.disk_limit_bytes, number("disk limit", text));
    return {};
}

Result<std::uint32_t> read_sample(const std::string& text) {
    const std::string digits = text.starts_with("1/") ? text.substr(2) : text;
    const auto n = tgen::parse_number(digits);
    if (!n || *n == 0 || *n > 1'000'000'000)
        return fail(EINVAL, "sample: '{}', expected 1/N with N from 1 to 1000000000", text);
    return static_cast<std::uint32_t>(*n);
}

void CaptureCli::add_to(CLI::App& app) {
    app.add_option("-i", interfaces, "ports: a device given to EAL, a number, a PCI address, or "
                                     "devargs such as net_af_packet0,iface=eth0");
    app.add_option("-w", file, "file, or - for standard output; strftime's % and %{port}, "
                               "%{queue}, %{count} are filled in");
    app.add_option("-f", filter, "capture filter, pcap-filter(7)");
    app.add_option("-s", snaplen, "bytes kept of a packet");
    app.add_option("-b", rotate, "next file at filesize:KB, duration:S, packets:N; a ring of "
                                 "files:N");
    app.add_option("-a", stop, "stop at filesize:KB, duration:S, packets:N, files:N");
    app.add_option("-c", count, "stop after so many packets");
    app.add_flag("-g", group, "files are readable by the group");
    app.add_flag("-n", pcapng, "write pcapng");
    app.add_flag("-P", pcap, "write pcap (the default)");
    app.add_flag("--us", micro, "pcap with microseconds");
    app.add_flag("-q", quiet, "no progress line");
    app.add_option("-B", buffer, "MiB of buffer for each port and queue (128)");
    app.add_option("--queues", queues, "receive queues of each port (RSS), a file for each");
    app.add_option("--mtu", mtu, "largest packet of the ports, for jumbo frames");
    app.add_flag("--port-stamps", port_stamps, "time stamps of the port, where it gives some (a "
                                               "NIC's own clock; net_pcap: those of its file)");
    app.add_flag("--merge", merge, "one file for all ports and queues, in the order of time");
    app.add_flag("--null", null, "receive, and write nothing: the most this machine can receive");
    app.add_option("--disk-limit", disk_limit, "bytes of all files of the capture, or PERCENT% of "
                                               "the file system; the oldest files go");
    app.add_option("--flow-cutoff", flow_cutoff, "keep only so many bytes of each flow");
    app.add_option("--sample", sample, "keep 1/N of the packets");
    app.add_option("--compress", compress, "zstd or lz4, on the writers' cores");
    app.add_option("--io", io, "uring, posix, or none: copy, but write nothing")
        ->check(CLI::IsMember({"uring", "posix", "none"}));
    app.add_option("--io-lcore", io_lcore, "lcore for the writers; without it they are threads, or "
                                           "share the receiving lcore if that is the only one");
    app.add_option("--idle", idle, "what the lcores do while nothing comes: busy (poll; nothing is "
                                   "lost to waking up) or adaptive (sleep; the default)")
        ->check(CLI::IsMember({"busy", "adaptive"}));
    app.add_option("--prealloc", preallocate, "bytes that files are extended by (64M), 0: none");
    app.add_flag("--stop-on-error", stop_on_error, "end when a file cannot be written, instead of "
                                                   "trying again");
    app.add_option("--user", user, "drop root to this user once all devices are open");
    app.add_option("--socket", socket, "control socket");
    app.add_flag("--json", json, "print the final report as JSON");
    app.add_option("--recover", recover, "make files of a killed capture readable, and end");
    app.add_option("--selftest", selftest, "measure what this machine can do, and end")
        ->check(CLI::IsMember({"rx", "disk", "both"}));
}

Result<control::Value> CaptureCli::begin_selftest() {
    constexpr double kSeconds = 3;
    control::Value disk;
    if (selftest != "rx") {
        const std::size_t slash = file.rfind('/');
        const std::string folder = file.empty()                ? "/var/tmp"
                                   : slash == std::string::npos ? "."
                                                                : file.substr(0, slash + 1);
        SLUICE_TRY(disk, disk_selftest(folder, kSeconds));
    }
    if (interfaces.empty()) interfaces = {"net_null_selftest,size=64,copy=1"};
    io = "none";
    quiet = true;
    if (stop.empty()) stop = {"duration:3"};
    return disk;
}

// What all lanes have in common.
Result<capture::LaneConfig> CaptureCli::lane() const {
    capture::LaneConfig lane;
    lane.file = file;
    if (file.empty() && !null && io != "none")
        return fail(EINVAL, "-w FILE is missing: expected a file, - or --null");
    if (pcapng && (pcap || micro))
        return fail(EINVAL, "-n and {} exclude each other", pcap ? "-P" : "--us");
    lane.format = pcapng  ? capture::Format::pcapng
                  : micro ? capture::Format::pcap_us
                          : capture::Format::pcap_ns;
    if (snaplen == 0 || snaplen > pcap::kSnaplenMax)
        return fail(EINVAL, "-s {}: expected 1 to {}", snaplen, pcap::kSnaplenMax);
    lane.snaplen = static_cast<std::uint32_t>(snaplen);
    lane.filter = filter;
    std::uint32_t ring = 0;
    FileLimitsTarget next{&lane.rotation.bytes, &lane.rotation.packets, &lane.rotation.duration,
                          &ring};
    for (const std::string& text : rotate) SLUICE_TRY_VOID(apply("-b", text, next));
    lane.rotation.files = ring;
    FileLimitsTarget end{&lane.stop.bytes, &lane.stop.packets, &lane.stop.duration,
                         &lane.stop_files};
    for (const std::string& text : stop) SLUICE_TRY_VOID(apply("-a", text, end));
    if (count != 0) lane.stop.packets = count;
    lane.group_readable = group;
    lane.port_stamps = port_stamps;
    lane.stop_on_error = stop_on_error;
    if (!disk_limit.empty()) SLUICE_TRY_VOID(read_disk_limit(disk_limit, lane));
    if (!flow_cutoff.empty()) {
        SLUICE_TRY(lane.flow_cutoff, number("--flow-cutoff", flow_cutoff));
    }
    if (!sample.empty()) {
        SLUICE_TRY(lane.sample, read_sample(sample));
    }
    if (!compress.empty()) {
        SLUICE_TRY(lane.codec, pcap::parse_codec(compress));
    }
    if (!preallocate.empty()) {
        SLUICE_TRY(lane.preallocate, number("--prealloc", preallocate));
    }
    if (!buffer.empty()) {
        SLUICE_TRY(const std::uint64_t mib, number("-B", buffer));
        if (mib < 4 || mib > 1'000'000) return fail(EINVAL, "-B {}: expected 4 to 1000000", mib);
        lane.buffer_bytes = mib << 20;
    }
    lane.io = io == "uring"   ? capture::IoKind::uring
              : io == "posix" ? capture::IoKind::posix
              : io == "none"  ? capture::IoKind::none
                              : capture::IoKind::automatic;
    return lane;
}

Result<Config> CaptureCli::config(const ConfigScope& scope) const {
    Config out;
    out.path = "the command line";
    out.socket = socket.empty() ? fmt::format("/run/sluice/{}-{}.sock", scope.role, ::getpid())
                                : socket;
    if (idle == "busy") out.idle = dp::Idle::busy;
    SLUICE_TRY(const capture::LaneConfig common, lane());
    if (queues < 1 || queues > 128) return fail(EINVAL, "--queues {}: expected 1 to 128", queues);
    for (const std::string& device : split_interfaces(interfaces)) {
        PortConfig port;
        port.options.device = device;
        port.options.name = device.substr(0, device.find(','));
        port.options.rx_queues = static_cast<std::uint16_t>(queues);
        port.options.promiscuous = true;
        port.options.scatter = true;
        port.options.timestamps = port_stamps;
        port.options.mtu = static_cast<std::uint32_t>(mtu);
        CaptureSpec spec;
        spec.port = port.options.name;
        spec.direction = "rx";
        spec.lane = common;
        spec.null = null;
        spec.merge = merge;
        if (io_lcore >= 0) spec.io_lcore = LcoreId(static_cast<std::uint16_t>(io_lcore));
        out.ports.push_back(std::move(port));
        out.captures.push_back(std::move(spec));
    }
    SLUICE_TRY_VOID(check_captures(out));
    return out;
}

}  // namespace sluice::app
