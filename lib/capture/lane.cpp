#include "capture/lane.hpp"

#include <rte_cycles.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>

#include <algorithm>
#include <cstring>
#include <iterator>

#include "base/log.hpp"
#include "dataplane/clock.hpp"

namespace sluice::capture {
namespace {

constexpr unsigned kIoDepth = 64;
constexpr std::uint32_t kBlockAlign = 4096;
constexpr unsigned kIdlePollsMask = 63;

bool is_stream(const std::string& path) {
    if (path == "-") return true;
    struct stat info {};
    return ::stat(path.c_str(), &info) == 0 && S_ISFIFO(info.st_mode);
}

pcap::NgSection section_of_host(bool tapped) {
    pcap::NgSection section;
    utsname name{};
    if (::uname(&name) == 0) {
        section.hardware = name.machine;
        section.os = fmt::format("{} {}", name.sysname, name.release);
    }
    section.application = std::string("sluice-capture ") + SLUICE_VERSION;
    section.comment = "Time stamps: TSC, slewed to CLOCK_REALTIME once a second; ";
    section.comment +=
        tapped ? "of the iteration of the polling core in which a packet passed."
               : "packets of a burst are spread over the time since the poll before. The bound of "
                 "their error stands in the statistics.";
    return section;
}

Result<BlockWriter::Options> writer_options(const LaneConfig& c, bool stream) {
    BlockWriter::Options o;
    o.format = c.format == Format::pcapng ? pcap::FileFormat::pcapng : pcap::FileFormat::pcap;
    o.group_readable = c.group_readable;
    o.codec = c.codec;
    o.preallocate = c.codec == pcap::Codec::none ? c.preallocate : 0;
    const std::uint64_t limits[] = {c.rotation.bytes, c.stop.bytes};
    for (const std::uint64_t limit : limits)
        if (limit != 0) o.file_bytes = o.file_bytes == 0 ? limit : std::min(o.file_bytes, limit);
    o.stop_on_error = c.stop_on_error;
    if (stream) {
        o.stream = c.file;
        return o;
    }
    pcap::FileSet::Options files;
    files.pattern = c.file + std::string(pcap::extension_of(c.codec));
    files.port = c.port;
    files.queue = c.queue;
    files.rotates = c.rotation.rotates();
    files.files = c.rotation.files;
    files.disk_limit_bytes = c.disk_limit_bytes;
    files.disk_limit_percent = c.disk_limit_percent;
    SLUICE_TRY(o.files, pcap::FileSet::create(files));
    return o;
}

Result<std::unique_ptr<pcap::BlockIo>> make_io(const LaneConfig& c, BlockPool& pool,
                                               bool stream) {
    if (c.io == IoKind::none) return pcap::make_null_io();
    if (stream || c.codec != pcap::Codec::none || c.io == IoKind::posix)
        return pcap::make_posix_io();
    auto uring = pcap::make_uring_io(pool.memory(), kIoDepth, c.io_worker_cpus);
    if (uring) return uring;
    if (c.io == IoKind::uring)
        return fail(uring.error().code, "{}; use --io posix", uring.error().message);
    log::warn("capture", "{}: writing through the page cache, which is several times slower",
              uring.error().message);
    return pcap::make_posix_io();
}

}  // namespace

Result<LaneConfig> checked(LaneConfig c) {
    if (c.file.empty() && c.io != IoKind::none)
        return fail(EINVAL, "capture of {}: no file; expected a path, \"-\" or a FIFO", c.port);
    struct stat info {};
    if (::stat(c.file.c_str(), &info) == 0 && S_ISDIR(info.st_mode))
        return fail(EISDIR, "capture: \"{}\" is a folder, expected a file, \"-\" or a FIFO",
                    c.file);
    if (c.snaplen == 0 || c.snaplen > pcap::kSnaplenMax)
        return fail(EINVAL, "capture: snaplen of {} bytes, expected 1 to {}", c.snaplen,
                    pcap::kSnaplenMax);
    if (c.sample == 0) return fail(EINVAL, "capture: sample 1/0, expected 1/1 or less");
    c.block_bytes = std::clamp(c.block_bytes, std::uint32_t{1} << 19, std::uint32_t{64} << 20) /
                    kBlockAlign * kBlockAlign;
    // Two that the recorder may hold back, one it fills, and some on their way.
    constexpr std::uint64_t kBlocksMin = 6;
    if (c.buffer_bytes < kBlocksMin * (std::uint64_t{1} << 19))
        return fail(EINVAL, "capture: a buffer of {} bytes, expected at least {} MiB",
                    c.buffer_bytes, kBlocksMin / 2);
    while (c.block_bytes > (1u << 19) && c.buffer_bytes / c.block_bytes < kBlocksMin)
        c.block_bytes /= 2;
    // Small files would each take a whole block.
    while (c.rotation.bytes != 0 && c.block_bytes > (1u << 19) &&
           c.block_bytes / 2 >= c.rotation.bytes)
        c.block_bytes /= 2;
    if (c.rotation.files != 0 && !c.rotation.rotates())
        return fail(EINVAL, "capture: a ring of {} files needs to know when a file is full: "
                    "expected -b filesize:, -b duration: or -b packets: too", c.rotation.files);
    if (is_stream(c.file) && c.rotation.rotates())
        return fail(EINVAL, "capture: \"{}\" is one stream; files (-b) need a path", c.file);
    constexpr std::uint64_t kFileBytesMin = 1024;
    for (const std::uint64_t bytes : {c.rotation.bytes, c.stop.bytes})
        if (bytes != 0 && bytes < kFileBytesMin)
            return fail(EINVAL, "capture: files of {} bytes, expected at least {}", bytes,
                        kFileBytesMin);
    return c;
}

Packer::Options Lane::packer_options(const LaneConfig& c) {
    Packer::Options o;
    o.format = c.format;
    o.linktype = c.linktype;
    o.snaplen = c.snaplen;
    o.section = section_of_host(c.tapped);
    o.interfaces = {{c.port, fmt::format("queue {}", c.queue), c.filter}};
    o.next_file = {c.rotation.bytes, c.rotation.packets, c.rotation.duration};
    o.stop = c.stop;
    o.stop_files = c.stop_files;
    return o;
}

Result<Lane::Output> Lane::make_output(const LaneConfig& c) {
    const bool stream = c.io == IoKind::none || is_stream(c.file);
    SLUICE_TRY(BlockWriter::Options writer, writer_options(c, stream));
    Output out;
    SLUICE_TRY(out.pool, BlockPool::create(c.block_bytes, static_cast<std::uint32_t>(
                                                              c.buffer_bytes / c.block_bytes)));
    SLUICE_TRY(auto io, make_io(c, *out.pool, stream));
    out.writer = std::make_unique<BlockWriter>(*out.pool, std::move(io), std::move(writer));
    return out;
}

Result<std::unique_ptr<Lane>> Lane::create(const LaneConfig& config, const WallClock& clock) {
    SLUICE_TRY(const LaneConfig c, checked(config));
    SLUICE_TRY(Output output, make_output(c));
    std::unique_ptr<Lane> lane(new Lane(c, clock, std::move(output), packer_options(c)));
    SLUICE_TRY_VOID(lane->init());
    return lane;
}

Result<std::unique_ptr<Lane>> Lane::create_feed(const LaneConfig& config,
                                                const WallClock& clock) {
    LaneConfig c = config;
    // What is about files is the merge's.
    c.file = "-";
    c.format = Format::pcap_ns;
    c.rotation = {};
    c.stop = {};
    c.stop_files = 0;
    SLUICE_TRY(c, checked(c));
    Output output;
    SLUICE_TRY(output.pool, BlockPool::create(c.block_bytes, static_cast<std::uint32_t>(
                                                                 c.buffer_bytes / c.block_bytes)));
    Packer::Options packer = packer_options(c);
    packer.bare = true;
    std::unique_ptr<Lane> lane(new Lane(c, clock, std::move(output), packer));
    SLUICE_TRY_VOID(lane->init());
    return lane;
}

Lane::Lane(const LaneConfig& config, const WallClock& clock, Output output,
           const Packer::Options& packer)
    : config_(config),
      clock_(clock),
      pool_(std::move(output.pool)),
      packer_(*pool_, packer),
      writer_(std::move(output.writer)) {}

Result<> Lane::init() {
    SLUICE_TRY_VOID(change(config_.filter, config_.snaplen));
    if (config_.flow_cutoff != 0) {
        FlowCutoff::Options options;
        options.bytes = config_.flow_cutoff;
        options.seed = config_.seed;
        SLUICE_TRY(cutoff_, FlowCutoff::create(options));
    }
    if (!writer_) return {};
    writer_->on_failure([this] { packer_.rotate(); });
    packer_.on_totals([this](unsigned, PackerTotals& out) { totals(counts(), missed(), out); });
    return writer_->init();
}

Lane::~Lane() {
    // One that could not even begin leaves an old file of its name alone.
    if (idle_polls_ == 0 && counters_.received.get() == 0 && !threaded()) closed_ = true;
    static_cast<void>(close());
}

Result<> Lane::change(std::optional<std::string> filter, std::optional<std::uint32_t> snaplen) {
    const Settings* const now = settings_.load(std::memory_order_relaxed);
    auto next = now == nullptr ? std::make_unique<Settings>() : std::make_unique<Settings>(*now);
    if (snaplen) {
        if (*snaplen == 0 || *snaplen > config_.snaplen)
            return fail(EINVAL, "snaplen of {} bytes, expected 1 to {} (what the file's header "
                        "says)", *snaplen, config_.snaplen);
        next->snaplen = *snaplen;
    }
    if (filter) {
        next->filter = nullptr;
        if (!filter->empty()) {
            SLUICE_TRY(auto made, Filter::compile(*filter, config_.linktype, config_.snaplen));
            next->filter = made.get();
            filters_.push_back(std::move(made));
        }
    }
    settings_.store(next.get(), std::memory_order_release);
    kept_.push_back(std::move(next));
    return {};
}

// ---- the lcore of the packets ----

// Which packets are to be kept; counts the others.
unsigned Lane::select(rte_mbuf* const* packets, unsigned count, Instant now,
                      const Settings& settings, std::uint16_t* which) noexcept {
    unsigned n = count;
    if (settings.filter != nullptr) {
        n = settings.filter->match(packets, count, which);
        counters_.filtered.add(count - n);
    } else {
        for (unsigned i = 0; i < count; ++i) which[i] = static_cast<std::uint16_t>(i);
    }
    if (config_.sample > 1) {
        unsigned kept = 0;
        for (unsigned i = 0; i < n; ++i) {
            if (sample_at_ == 0) which[kept++] = which[i];
            if (++sample_at_ == config_.sample) sample_at_ = 0;
        }
        counters_.sampled_out.add(n - kept);
        n = kept;
    }
    if (cutoff_ && n != 0) {
        std::array<rte_mbuf*, dp::kBurstMax> chosen;
        std::array<std::uint16_t, dp::kBurstMax> left;
        for (unsigned i = 0; i < n; ++i) chosen[i] = packets[which[i]];
        const unsigned kept = cutoff_->keep(chosen.data(), n, left.data(), now);
        for (unsigned i = 0; i < kept; ++i) which[i] = which[left[i]];
        counters_.cut_off.add(n - kept);
        n = kept;
    }
    return n;
}

// False unless all packets have one.
bool Lane::stamps_of(rte_mbuf* const* packets, unsigned count, std::int64_t* out) const noexcept {
    bool all = true;
    for (unsigned i = 0; i < count; ++i) {
        out[i] = port_clock_->wall_ns(packets[i]);
        all &= out[i] != 0;
    }
    return all;
}

void Lane::record(Instant now, rte_mbuf* const* packets, unsigned count, bool full,
                  std::uint32_t direction) noexcept {
    const std::uint64_t begin = rte_rdtsc();
    const Settings* const settings = settings_.load(std::memory_order_acquire);
    Packer::Batch batch;
    batch.packets = packets;
    batch.count = count;
    batch.wall = stamper_.burst(now, count, full);
    // The difference of the clocks does not move within a burst.
    batch.wall.first_ns = clock_.wall_ns(Instant{batch.wall.first_ns});
    batch.snaplen = settings->snaplen;
    batch.direction = direction;
    std::array<std::int64_t, dp::kBurstMax> stamps;
    if (port_clock_ != nullptr && stamps_of(packets, count, stamps.data()))
        batch.stamps = stamps.data();
    // Before the file's statistics may be written.
    counters_.received.add(count);
    std::array<std::uint16_t, dp::kBurstMax> which;
    if (settings->filter != nullptr || config_.sample > 1 || cutoff_) {
        batch.count = select(packets, count, now, *settings, which.data());
        batch.which = which.data();
    }
    const Packer::Outcome out = packer_.pack(batch);
    if (out.refused != 0) [[unlikely]]
        counters_.received.set(counters_.received.get() - out.refused);
    counters_.packed.add(out.packed);
    counters_.no_chunk.add(out.lost);
    counters_.bytes.add(out.bytes);
    counters_.stamp_error_ns.set(static_cast<std::uint64_t>(stamper_.error_ns()));
    counters_.stamp_error_max_ns.set(static_cast<std::uint64_t>(stamper_.error_max_ns()));
    counters_.busy_cycles.add(rte_rdtsc() - begin);
    // After the commit: who sees this stamp also sees the records before it.
    complete_to_.store(clock_.wall_ns(now), std::memory_order_release);
}

void Lane::nothing(Instant now) noexcept {
    stamper_.nothing(now);
    if ((idle_polls_++ & kIdlePollsMask) != 0) return;
    const std::int64_t wall_ns = clock_.wall_ns(now);
    packer_.idle(wall_ns);
    complete_to_.store(wall_ns, std::memory_order_release);
}

void Lane::reached(Instant now) noexcept {
    stamper_.nothing(now);
    complete_to_.store(clock_.wall_ns(now), std::memory_order_release);
}

void Lane::totals(const LaneStats& of, std::uint64_t missed, PackerTotals& out) {
    out.received = of.received;
    out.accepted = of.received - of.filtered;
    out.lost = of.no_chunk;
    out.missed = missed;
    fmt::format_to(
        std::back_inserter(out.comment),
        "filtered={} sampled_out={} cut_off={} no_chunk={} disk_error={} stamp_error_max_ns={}",
        of.filtered, of.sampled_out, of.cut_off, of.no_chunk, of.disk_error,
        of.stamp_error_max_ns);
}

// ---- the writer's lcore or thread ----

bool Lane::write(Instant now) noexcept { return writer_->poll(now, clock_.wall_ns(now)); }

bool Lane::finish_feed() noexcept {
    return packer_.finish(clock_.wall_ns(dp::TscClock::instance().now()));
}

// ---- control thread ----

Result<> Lane::close() {
    if (!writer_) return {};
    if (!closed_) {
        closed_ = true;
        writer_->hurry();
        stop_thread();
        writer_->stop_keeper();
        // From here on this thread is all there is.
        const auto now = [] { return dp::TscClock::instance().now(); };
        bool finished = false;
        while (!finished || !writer_->drained()) {
            if (!finished) finished = packer_.finish(clock_.wall_ns(now()));
            if (!write(now())) {
                const timespec t{0, 50'000};
                ::nanosleep(&t, nullptr);
            }
            if (writer_->failed_for_good()) break;
        }
        writer_->abandon();
    }
    if (std::string e = writer_->error(); !e.empty())
        return tl::unexpected<Error>(Error{EIO, std::move(e)});
    return {};
}

LaneStats Lane::stats() const {
    LaneStats s = counts();
    s.port = config_.port;
    s.queue = config_.queue;
    if (writer_) {
        s.file = writer_->file();
        s.error = writer_->error();
        s.io = writer_->io_name();
    }
    s.over = over();
    const Settings* const settings = settings_.load(std::memory_order_acquire);
    s.filter = settings->filter != nullptr ? settings->filter->expression() : "";
    s.snaplen = settings->snaplen;
    return s;
}

LaneStats Lane::counts() const noexcept {
    LaneStats s;
    // From the file back to the port, so that a packet that moves meanwhile shows as pending.
    if (writer_) {
        const WriterCounters& w = writer_->counters();
        s.written = w.written.get();
        s.disk_error = w.disk_error.get();
        s.file_bytes = w.file_bytes.get();
        s.files = w.files.get();
        s.writer_cycles = w.busy_cycles.get();
    }
    s.packed = counters_.packed.get();
    s.bytes = counters_.bytes.get();
    s.filtered = counters_.filtered.get();
    s.sampled_out = counters_.sampled_out.get();
    s.cut_off = counters_.cut_off.get();
    s.no_chunk = counters_.no_chunk.get();
    s.received = counters_.received.get();
    s.busy_cycles = counters_.busy_cycles.get();
    s.stamp_error_ns = counters_.stamp_error_ns.get();
    s.stamp_error_max_ns = counters_.stamp_error_max_ns.get();
    const std::uint64_t done = s.written + s.disk_error;
    s.pending = s.packed > done ? s.packed - done : 0;
    s.buffer_percent = 100 - std::min(100u, pool_->free_count() * 100 / pool_->count());
    return s;
}

}  // namespace sluice::capture
