#include "capture/merge.hpp"

#include <rte_cycles.h>
#include <rte_mbuf.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>

#include "dataplane/clock.hpp"

namespace sluice::capture {
namespace {

constexpr std::int64_t kForever = std::numeric_limits<std::int64_t>::max();
constexpr unsigned kRecordsAtOnce = 4096;
constexpr std::uint32_t kSegmentMax = 0xffff;

// A record as the packer wants it: a packet that nobody owns.
class Borrowed {
  public:
    explicit Borrowed(const FeedReader::Record& r) noexcept {
        std::uint32_t left = r.captured;
        const std::byte* data = r.data;
        unsigned n = 0;
        do {
            rte_mbuf& m = segments_[n];
            std::memset(&m, 0, sizeof(m));
            const std::uint32_t part = std::min(left, kSegmentMax);
            m.buf_addr = const_cast<std::byte*>(data);
            m.buf_len = static_cast<std::uint16_t>(part);  // nothing may be read behind it
            m.data_len = static_cast<std::uint16_t>(part);
            if (n != 0) segments_[n - 1].next = &m;
            left -= part;
            data += part;
            ++n;
        } while (left != 0 && n < segments_.size());
        segments_[0].nb_segs = static_cast<std::uint16_t>(n);
        segments_[0].pkt_len = r.original;
    }
    rte_mbuf* get() noexcept { return segments_.data(); }

  private:
    std::array<rte_mbuf, pcap::kSnaplenMax / kSegmentMax + 2> segments_;
};

}  // namespace

// ---- FeedReader ----

// Out of the blocks, from the present place on; as much as is there.
std::size_t FeedReader::copy(std::byte* to, std::size_t size) const noexcept {
    std::size_t done = 0;
    std::uint32_t at = at_;
    for (const Block* block : blocks_) {
        const ChunkFill fill = block->seen();
        const std::size_t n = std::min<std::size_t>(fill.bytes - at, size - done);
        std::memcpy(to + done, block->data + at, n);
        done += n;
        if (done == size || !fill.sealed) break;
        at = 0;
    }
    return done;
}

void FeedReader::skip(std::size_t size) noexcept {
    while (!blocks_.empty()) {
        Block* const block = blocks_.front();
        const ChunkFill fill = block->seen();
        const std::size_t n = std::min<std::size_t>(fill.bytes - at_, size);
        at_ += static_cast<std::uint32_t>(n);
        size -= n;
        if (at_ < fill.bytes || !fill.sealed) return;
        pool_.give_back(block);
        blocks_.pop_front();
        at_ = 0;
    }
}

const FeedReader::Record* FeedReader::head() {
    if (have_) return &record_;
    while (Block* const block = pool_.next()) blocks_.push_back(block);
    skip(0);  // blocks that are empty or used up
    if (blocks_.empty()) return nullptr;
    std::array<std::byte, pcap::kRecordHeaderBytes> header;
    if (copy(header.data(), header.size()) < header.size()) return nullptr;
    record_.captured = pcap::record_captured(header.data());
    record_.original = pcap::get_le32(&header[12]);
    record_.wall_ns = pcap::wall_ns_of(pcap::record_stamp(header.data()), pcap::Resolution::ns);
    const std::size_t size = header.size() + record_.captured;
    const Block* const first = blocks_.front();
    if (first->seen().bytes - at_ >= size) {
        record_.data = first->data + at_ + header.size();
    } else {
        scratch_.resize(std::max(scratch_.size(), size));
        if (copy(scratch_.data(), size) < size) return nullptr;
        record_.data = scratch_.data() + header.size();
    }
    have_ = true;
    return &record_;
}

void FeedReader::pop() noexcept {
    have_ = false;
    skip(pcap::kRecordHeaderBytes + record_.captured);
}

// ---- Merge ----

Result<std::unique_ptr<Merge>> Merge::create(const LaneConfig& config,
                                             std::vector<LaneConfig> lanes,
                                             const WallClock& clock) {
    SLUICE_TRY(LaneConfig file, checked(config));
    constexpr std::uint64_t kFileLeast = std::uint64_t{4} << 20;
    file.buffer_bytes = std::max(kFileLeast, config.buffer_bytes / 2);
    SLUICE_TRY(file, checked(file));
    std::vector<Feed> feeds;
    Packer::Options packer = Lane::packer_options(file);
    packer.interfaces.clear();
    for (LaneConfig& lane : lanes) {
        constexpr std::uint64_t kLeast = std::uint64_t{4} << 20;
        lane.buffer_bytes = std::max(kLeast, config.buffer_bytes / 2 / lanes.size());
        Feed feed;
        feed.interface_id = static_cast<std::uint32_t>(packer.interfaces.size());
        for (const Feed& other : feeds)
            if (const LaneConfig& c = other.lane->config();
                c.port == lane.port && c.queue == lane.queue)
                feed.interface_id = other.interface_id;
        if (feed.interface_id == packer.interfaces.size())
            packer.interfaces.push_back(
                {lane.port, fmt::format("queue {}", lane.queue), lane.filter});
        SLUICE_TRY(feed.lane, Lane::create_feed(lane, clock));
        feed.reader = std::make_unique<FeedReader>(feed.lane->pool());
        feeds.push_back(std::move(feed));
    }
    SLUICE_TRY(Lane::Output out, Lane::make_output(file));
    std::unique_ptr<Merge> merge(new Merge(file, clock, std::move(out.pool), std::move(out.writer),
                                           packer, std::move(feeds)));
    Merge* const raw = merge.get();
    raw->writer_->on_failure([raw] { raw->packer_.rotate(); });
    raw->interfaces_ = static_cast<unsigned>(packer.interfaces.size());
    raw->packer_.on_totals([raw](unsigned interface_id, PackerTotals& totals) {
        raw->totals(interface_id, totals);
    });
    if (auto ready = raw->writer_->init(); !ready) {
        raw->closed_ = true;  // an old file of its name stays as it is
        return fail(std::move(ready.error()));
    }
    return merge;
}

Merge::Merge(const LaneConfig& config, const WallClock& clock, std::unique_ptr<BlockPool> pool,
             std::unique_ptr<BlockWriter> writer, const Packer::Options& packer,
             std::vector<Feed> feeds)
    : config_(config),
      clock_(clock),
      feeds_(std::move(feeds)),
      pool_(std::move(pool)),
      packer_(*pool_, packer),
      writer_(std::move(writer)) {}

Merge::~Merge() { static_cast<void>(close()); }

void Merge::take(Feed& feed) noexcept {
    const FeedReader::Record record = *feed.reader->head();
    Borrowed packet(record);
    rte_mbuf* const packets[] = {packet.get()};
    Packer::Batch batch;
    batch.packets = packets;
    batch.count = 1;
    batch.wall.first_ns = record.wall_ns;
    batch.snaplen = record.captured;
    batch.interface_id = feed.interface_id;
    batch.direction = feed.lane->config().direction;
    if (record.wall_ns < last_ns_) restamped_.add(1);
    last_ns_ = std::max(last_ns_, record.wall_ns);
    const Packer::Outcome out = packer_.pack(batch);
    lost_.add(out.lost);
    beyond_.add(out.refused);
    bytes_.add(out.bytes);
    feed.reader->pop();
}

// The records that nothing earlier can precede; `all`: nothing more will come.
bool Merge::merge(std::int64_t wall_ns, bool all) noexcept {
    std::int64_t horizon = kForever;
    // First what the lanes say of the future, then what they have.
    for (const Feed& feed : feeds_)
        horizon = std::min(horizon, std::max(feed.lane->complete_to(), wall_ns - kWindow.ns));
    if (all) horizon = kForever;
    for (unsigned n = 0; n < kRecordsAtOnce; ++n) {
        // Behind a slow disk the lanes have to hold what they have, and say what they lose.
        if (!all && !packer_.room()) return n != 0;
        std::size_t oldest = feeds_.size();
        std::int64_t stamp = kForever;
        for (std::size_t i = 0; i < feeds_.size(); ++i) {
            const FeedReader::Record* const head = feeds_[i].reader->head();
            if (head == nullptr || head->wall_ns >= stamp) continue;
            stamp = head->wall_ns;
            oldest = i;
        }
        if (oldest == feeds_.size() || stamp > horizon) return n != 0;
        take(feeds_[oldest]);
    }
    return true;
}

bool Merge::write(Instant now) noexcept {
    const std::int64_t wall_ns = clock_.wall_ns(now);
    const std::uint64_t begin = rte_rdtsc();
    const bool merged = merge(wall_ns, false);
    if (merged)
        merge_cycles_.add(rte_rdtsc() - begin);
    else
        packer_.idle(wall_ns);
    return writer_->poll(now, wall_ns) || merged;
}

// Nobody reads the stream any more: what the lanes still have is lost.
void Merge::give_up() noexcept {
    for (Feed& feed : feeds_) {
        while (!feed.lane->finish_feed()) {
        }
        for (; feed.reader->head() != nullptr; feed.reader->pop()) given_up_.add(1);
    }
}

void Merge::totals(unsigned interface_id, PackerTotals& out) const {
    LaneStats sum;
    std::uint64_t missed = 0;
    for (const Feed& feed : feeds_) {
        if (feed.interface_id != interface_id) continue;
        const LaneStats s = feed.lane->counts();
        sum.received += s.received;
        sum.filtered += s.filtered;
        sum.sampled_out += s.sampled_out;
        sum.cut_off += s.cut_off;
        sum.no_chunk += s.no_chunk;
        sum.stamp_error_max_ns = std::max(sum.stamp_error_max_ns, s.stamp_error_max_ns);
        missed += feed.lane->missed();
    }
    // Of several interfaces nobody knows whose these were.
    if (interfaces_ == 1) {
        sum.received -= beyond_.get();
        sum.no_chunk += lost_.get();
        sum.disk_error = writer_->counters().disk_error.get();
    }
    Lane::totals(sum, missed, out);
}

Result<> Merge::close() {
    if (!closed_) {
        closed_ = true;
        writer_->hurry();
        stop_thread();
        writer_->stop_keeper();
        const auto wall = [this] { return clock_.wall_ns(dp::TscClock::instance().now()); };
        std::vector<bool> sealed(feeds_.size());
        bool finished = false;
        for (;;) {
            bool all = true;
            for (std::size_t i = 0; i < feeds_.size(); ++i) {
                if (!sealed[i]) sealed[i] = feeds_[i].lane->finish_feed();
                all = all && sealed[i];
            }
            const bool merged = packer_.room() && merge(wall(), all);
            if (all && !merged && packer_.room() && !finished) finished = packer_.finish(wall());
            writer_->poll(dp::TscClock::instance().now(), wall());
            if ((finished && writer_->drained()) || writer_->failed_for_good()) break;
            const timespec t{0, 50'000};
            if (!merged) ::nanosleep(&t, nullptr);
        }
        if (writer_->failed_for_good()) give_up();
        writer_->abandon();
    }
    if (std::string e = writer_->error(); !e.empty())
        return tl::unexpected<Error>(Error{EIO, std::move(e)});
    return {};
}

LaneStats Merge::stats() const {
    LaneStats s;
    const WriterCounters& w = writer_->counters();
    s.written = w.written.get();
    s.disk_error = w.disk_error.get() + given_up_.get();
    s.file_bytes = w.file_bytes.get();
    s.files = w.files.get();
    s.writer_cycles = w.busy_cycles.get() + merge_cycles_.get();
    s.no_chunk = lost_.get();
    s.bytes = bytes_.get();
    for (const Feed& feed : feeds_) {
        const LaneStats f = feed.lane->stats();
        s.port += (s.port.empty() ? "" : ",") + fmt::format("{}.q{}", f.port, f.queue);
        s.packed += f.packed;
        s.filtered += f.filtered;
        s.sampled_out += f.sampled_out;
        s.cut_off += f.cut_off;
        s.no_chunk += f.no_chunk;
        s.busy_cycles += f.busy_cycles;
        s.stamp_error_ns = std::max(s.stamp_error_ns, f.stamp_error_ns);
        s.stamp_error_max_ns = std::max(s.stamp_error_max_ns, f.stamp_error_max_ns);
        s.buffer_percent = std::max(s.buffer_percent, f.buffer_percent);
        s.received += f.received;
        s.filter = f.filter;
        s.snaplen = f.snaplen;
    }
    // What came after the last packet that was wanted was not captured at all.
    s.received -= beyond_.get();
    s.packed -= beyond_.get();
    const std::uint64_t done = s.written + s.disk_error + lost_.get();
    s.pending = s.packed > done ? s.packed - done : 0;
    s.restamped = restamped_.get();
    s.file = writer_->file();
    s.error = writer_->error();
    s.io = writer_->io_name();
    s.over = over();
    return s;
}

}  // namespace sluice::capture
