#include "capture/packer.hpp"

#include <rte_prefetch.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/check.hpp"
#include "capture/copy.hpp"

namespace sluice::capture {
namespace {

constexpr std::uint64_t kSecondNs = 1'000'000'000;
constexpr unsigned kPrefetchAhead = 4;
constexpr unsigned kWriteAhead = 1024;
// What an interface's statistics take, with a comment such as a lane makes.
constexpr std::size_t kCommentBytes = 256;
constexpr std::size_t kTrailerBytes = 128 + kCommentBytes;
// The longest record: a packet, its header, and what pcapng adds.
constexpr std::uint32_t kRecordExtraMax = 128;

std::vector<std::byte> header_of(const Packer::Options& o) {
    if (o.bare) return {};
    if (o.format != Format::pcapng) {
        const auto resolution =
            o.format == Format::pcap_ns ? pcap::Resolution::ns : pcap::Resolution::us;
        const auto h = pcap::file_header(o.linktype, resolution, o.snaplen);
        return {h.begin(), h.end()};
    }
    std::vector<std::byte> h = pcap::section_header(o.section);
    for (const Packer::Options::Interface& from : o.interfaces) {
        pcap::NgInterface interface;
        interface.linktype = o.linktype;
        interface.snaplen = o.snaplen;
        interface.name = from.name;
        interface.description = from.description;
        interface.filter = from.filter;
        interface.resolution = pcap::Resolution::ns;
        const std::vector<std::byte> block = pcap::interface_description(interface);
        h.insert(h.end(), block.begin(), block.end());
    }
    return h;
}

// The first `length` bytes of a packet of several segments.
void gather(std::byte* to, const rte_mbuf* m, std::uint32_t length) noexcept {
    for (; m != nullptr && length != 0; m = m->next) {
        const std::uint32_t n = std::min<std::uint32_t>(m->data_len, length);
        std::memcpy(to, rte_pktmbuf_mtod(m, const void*), n);
        to += n;
        length -= n;
    }
    // A driver that lies about the length must not make us show old bytes.
    if (length != 0) std::memset(to, 0, length);
}

// A packet in one piece, whose buffer does not end right behind it: it is read in whole vectors.
bool copies_freely(const rte_mbuf* m, std::uint32_t kept) noexcept {
    return m->nb_segs == 1 && kept <= m->data_len &&
           std::uint32_t{m->data_off} + kept + kCopySlack <= m->buf_len;
}

struct PcapHeader {
    std::uint32_t seconds, fraction, captured, original;
};

template <Format F>
void put_pcap_header(std::byte* at, const Packer::Clockwork& clock, std::int64_t after,
                     std::uint32_t captured, std::uint32_t original) noexcept {
    std::uint32_t seconds = clock.seconds;
    std::uint64_t nanoseconds = clock.nanoseconds + static_cast<std::uint64_t>(after);
    if (nanoseconds >= kSecondNs) [[unlikely]] {
        seconds += static_cast<std::uint32_t>(nanoseconds / kSecondNs);
        nanoseconds %= kSecondNs;
    }
    auto fraction = static_cast<std::uint32_t>(nanoseconds);
    if constexpr (F == Format::pcap_us) fraction /= 1000;
    const PcapHeader h{seconds, fraction, captured, original};
    static_assert(std::endian::native == std::endian::little);
    std::memcpy(at, &h, sizeof(h));
}

}  // namespace

Packer::Packer(BlockPool& pool, const Options& options)
    : pool_(pool),
      options_(options),
      header_(header_of(options)),
      scratch_(options.snaplen + kRecordExtraMax + kCopySlack) {
    SLUICE_CHECK(header_.size() < pool.block_bytes());
    SLUICE_CHECK(scratch_.size() < pool.block_bytes());
    trailer_.reserve(options.interfaces.size() * kTrailerBytes);
    file_totals_.comment.reserve(kCommentBytes);
    file_stats_.comment.reserve(kCommentBytes);
}

std::uint32_t Packer::record_bytes(std::uint32_t kept) const noexcept {
    if (options_.format == Format::pcapng) return pcap::epb_bytes(kept, lost_since_ != 0);
    return static_cast<std::uint32_t>(pcap::kRecordHeaderBytes) + kept;
}

// ---- blocks and files ----

bool Packer::want_spares(unsigned count) noexcept {
    while (spare_count_ < count) {
        Block* const block = pool_.take();
        if (block == nullptr) return false;
        spares_[spare_count_++] = block;
    }
    return true;
}

// There must be a spare one.
void Packer::open_block(bool first) noexcept {
    block_ = spares_[--spare_count_];
    at_ = block_->data;
    records_ = 0;
    whole_ = 0;
    block_->first = first;
    block_->last = false;
    block_->whole = 0;
    block_->commit({});
    pool_.hand_over(block_);
}

void Packer::seal(bool last) noexcept {
    block_->last = last;
    block_->whole = whole_;
    const auto used = static_cast<std::uint32_t>(at_ - block_->data);
    block_->commit({used, records_, true});
    file_base_ += used;
    block_ = nullptr;
    at_ = fast_end_ = nullptr;  // so that the next record looks for a block
}

void Packer::commit() noexcept {
    if (block_ != nullptr)
        block_->commit({static_cast<std::uint32_t>(at_ - block_->data), records_, false});
}

// Where the limit of the file's size lies within the block, or else its end.
void Packer::set_limit_in_block() noexcept {
    fast_end_ = block_->data + pool_.block_bytes();
    for (const std::uint64_t limit : {options_.next_file.bytes, options_.stop.bytes}) {
        if (limit == 0) continue;
        const std::uint64_t left = limit > file_base_ ? limit - file_base_ : 0;
        fast_end_ = std::min(fast_end_, block_->data + std::min<std::uint64_t>(
                                                           left, pool_.block_bytes()));
    }
}

// Bytes that may go on in the next block; a spare one must be there.
void Packer::put(const std::byte* bytes, std::size_t size) noexcept {
    if (size == 0) return;  // a bare file's header, which lies nowhere
    const auto room = static_cast<std::size_t>(block_->data + pool_.block_bytes() - at_);
    const std::size_t now = std::min(room, size);
    std::memcpy(at_, bytes, now);
    at_ += now;
    if (now == size) return;
    seal(false);
    open_block(false);
    std::memcpy(at_, bytes + now, size - now);
    at_ += size - now;
    set_limit_in_block();
}

bool Packer::begin_file(std::int64_t wall_ns) noexcept {
    if (!want_spares(1)) return false;
    // Whatever began it: who asked for a new file has it. Not before, or else a request that came
    // when no block was free would be forgotten.
    rotate_done_ = rotate_asked_.load(std::memory_order_relaxed);
    file_base_ = 0;
    file_records_ = 0;
    file_begun_ns_ = wall_ns;
    ++files_;
    open_block(true);
    put(header_.data(), header_.size());
    whole_ = static_cast<std::uint32_t>(header_.size());
    set_limit_in_block();
    commit();
    return true;
}

void Packer::make_trailer(std::int64_t wall_ns) {
    trailer_.clear();
    for (unsigned i = 0; i < options_.interfaces.size(); ++i) {
        PackerTotals& totals = file_totals_;
        totals.received = totals.accepted = totals.lost = totals.missed = 0;
        totals.comment.clear();
        if (totals_) totals_(i, totals);
        pcap::NgStats& stats = file_stats_;
        stats.interface_id = i;
        stats.wall_ns = wall_ns;
        stats.start_ns = file_begun_ns_;
        stats.end_ns = wall_ns;
        stats.received = totals.received;
        stats.filter_accept = totals.accepted;
        stats.if_drop = totals.missed;
        stats.os_drop = totals.lost;
        std::swap(stats.comment, totals.comment);
        pcap::append_interface_statistics(trailer_, stats, pcap::Resolution::ns);
    }
}

// Needs a spare block if the format has a trailer.
bool Packer::end_file(std::int64_t wall_ns) noexcept {
    if (block_ == nullptr) return true;
    if (options_.format == Format::pcapng) {
        make_trailer(wall_ns);
        if (trailer_.size() > pool_.block_bytes() || !want_spares(1)) return false;
        put(trailer_.data(), trailer_.size());
        whole_ = static_cast<std::uint32_t>(at_ - block_->data);
    }
    seal(true);
    return true;
}

bool Packer::switch_file(std::int64_t wall_ns) noexcept {
    if (!want_spares(2) || !end_file(wall_ns)) return false;
    if (options_.stop_files != 0 && files_ >= options_.stop_files) {
        finished_ = true;
        over_.store(true, std::memory_order_release);
        return false;
    }
    return begin_file(wall_ns);
}

bool Packer::due_by_time_or_request(std::int64_t wall_ns) noexcept {
    const std::uint32_t asked = rotate_asked_.load(std::memory_order_relaxed);
    const bool request = asked != rotate_done_;
    const std::int64_t longest = options_.next_file.duration.ns;
    return request || (longest != 0 && wall_ns - file_begun_ns_ >= longest);
}

void Packer::idle(std::int64_t wall_ns) noexcept {
    if (finished_ || over()) return;
    if (block_ == nullptr) {
        begin_file(wall_ns);
        return;
    }
    // By time alone an empty file is not followed by another.
    const std::uint32_t asked = rotate_asked_.load(std::memory_order_relaxed);
    if (asked == rotate_done_ && file_records_ == 0) return;
    if (due_by_time_or_request(wall_ns)) switch_file(wall_ns);
}

bool Packer::finish(std::int64_t wall_ns) noexcept {
    if (finished_) return true;
    // A capture that saw nothing still leaves a file that says so.
    if (block_ == nullptr && files_ == 0 && !begin_file(wall_ns)) return false;
    if (!end_file(wall_ns)) return false;
    finished_ = true;
    while (spare_count_ != 0) {
        // Never filled: the writer gives it back.
        Block* const spare = spares_[--spare_count_];
        spare->first = spare->last = false;
        spare->whole = 0;
        spare->commit({0, 0, true});
        pool_.hand_over(spare);
    }
    return true;
}

// ---- records ----

template <Format F>
inline void Packer::write_record(std::byte* at, const rte_mbuf* m, std::uint32_t kept,
                                 const Clockwork& clock, std::int64_t after,
                                 const Batch& batch) noexcept {
    std::byte* data = at;
    if constexpr (F == Format::pcapng) {
        pcap::put_epb_head(at, batch.interface_id, clock.wall_ns + after, pcap::Resolution::ns,
                           kept, m->pkt_len, lost_since_ != 0);
        data += pcap::kEpbHeadBytes;
    } else {
        put_pcap_header<F>(at, clock, after, kept, m->pkt_len);
        data += pcap::kRecordHeaderBytes;
    }
    if (copies_freely(m, kept)) [[likely]]
        copy_freely(data, rte_pktmbuf_mtod(m, const std::byte*), kept);
    else
        gather(data, m, kept);
    if constexpr (F == Format::pcapng) {
        pcap::put_epb_tail(at, kept, batch.direction,
                           lost_since_ != 0 ? std::optional(lost_since_) : std::nullopt);
        lost_since_ = 0;
    }
}

// Any record, anywhere. False: there is no block to go on in, or it is over.
template <Format F>
bool Packer::append(const rte_mbuf* m, std::uint32_t kept, const Clockwork& clock,
                           std::int64_t after, const Batch& batch) noexcept {
    if (finished_) return false;
    const std::int64_t wall_ns = clock.wall_ns + after;
    if (block_ == nullptr && !begin_file(wall_ns)) return false;
    std::uint32_t size = record_bytes(kept);
    const std::uint64_t stop_at = options_.stop.bytes;
    if (stop_at != 0 && file_has_records() && file_position() + size > stop_at) {
        if (!end_file(wall_ns)) return false;
        finished_ = true;
        over_.store(true, std::memory_order_release);
        return false;
    }
    const std::uint64_t switch_at = options_.next_file.bytes;
    if (switch_at != 0 && file_has_records() && file_position() + size > switch_at &&
        !switch_file(wall_ns))
        return false;
    const auto room = static_cast<std::size_t>(block_->data + pool_.block_bytes() - at_);
    if (size + kCopySlack <= room) {
        write_record<F>(at_, m, kept, clock, after, batch);
        at_ += size;
    } else {
        if (!want_spares(1)) return false;
        write_record<F>(scratch_.data(), m, kept, clock, after, batch);
        put(scratch_.data(), size);
    }
    whole_ = static_cast<std::uint32_t>(at_ - block_->data);
    return true;
}

// The records that need no thought: whole packets in one segment, not at the end of a block or of a
// file. Returns the index of the first that is not one. Everything it touches is in registers.
template <Format F, bool All>
unsigned Packer::pack_plain(const Batch& batch, unsigned i, unsigned end, std::byte*& place,
                            const Clockwork& clock) noexcept {
    std::byte* at = place;
    const std::byte* const last = fast_end_ - std::min<std::ptrdiff_t>(kCopySlack, fast_end_ - at);
    rte_mbuf* const* const packets = batch.packets;
    const std::uint32_t snaplen = batch.snaplen;
    const std::int64_t step = batch.wall.step_q16;
    for (; i < end; ++i) {
        const unsigned index = All ? i : batch.which[i];
        if (i + kPrefetchAhead < end) {
            const unsigned ahead = All ? i + kPrefetchAhead : batch.which[i + kPrefetchAhead];
            rte_prefetch0(rte_pktmbuf_mtod(packets[ahead], const void*));
        }
        const rte_mbuf* const m = packets[index];
        const std::uint32_t kept = std::min(m->pkt_len, snaplen);
        const std::uint32_t size = static_cast<std::uint32_t>(pcap::kRecordHeaderBytes) + kept;
        // Written in order, but to memory that has long left the cache: a line at a time would come
        // too late.
        __builtin_prefetch(at + kWriteAhead, 1);
        if (size > last - at || !copies_freely(m, kept)) [[unlikely]]
            break;
        put_pcap_header<F>(at, clock, (index * step) >> 16, kept, m->pkt_len);
        copy_freely(at + pcap::kRecordHeaderBytes, rte_pktmbuf_mtod(m, const std::byte*), kept);
        at += size;
    }
    place = at;
    return i;
}

// How many were packed before a block was missing or it was over; updates all counts.
template <Format F, bool All>
unsigned Packer::pack_run(const Batch& batch, unsigned begin, unsigned end,
                          Outcome& out) noexcept {
    const Clockwork clock(batch.wall.first_ns);
    const auto after_of = [&](unsigned i) {
        const unsigned index = All ? i : batch.which[i];
        // A port's stamps may run backwards between its queues' descriptors; ours do not.
        if (batch.stamps != nullptr)
            return std::max({batch.stamps[index], last_ns_, clock.wall_ns}) - clock.wall_ns;
        return (static_cast<std::int64_t>(index) * batch.wall.step_q16) >> 16;
    };
    unsigned i = begin;
    while (i < end) {
        if constexpr (F != Format::pcapng) {
            if (block_ != nullptr && batch.stamps == nullptr) {
                std::byte* at = at_;
                const unsigned next = pack_plain<F, All>(batch, i, end, at, clock);
                const unsigned n = next - i;
                if (n != 0) {
                    out.bytes += static_cast<std::uint64_t>(at - at_) -
                                 std::uint64_t{n} * pcap::kRecordHeaderBytes;
                    at_ = at;
                    records_ += n;
                    file_records_ += n;
                    whole_ = static_cast<std::uint32_t>(at_ - block_->data);
                }
                i = next;
                if (i == end) break;
            }
        }
        const rte_mbuf* const m = batch.packets[All ? i : batch.which[i]];
        const std::uint32_t kept = std::min(m->pkt_len, batch.snaplen);
        const std::int64_t after = after_of(i);
        if (!append<F>(m, kept, clock, after, batch)) break;
        last_ns_ = std::max(last_ns_, clock.wall_ns + after);
        ++records_;
        ++file_records_;
        out.bytes += kept;
        ++i;
    }
    const unsigned packed = i - begin;
    if (packed != 0) last_ns_ = clock.wall_ns + after_of(i - 1);
    total_records_ += packed;
    out.packed += packed;
    return packed;
}

template <Format F>
unsigned Packer::pack_some(const Batch& batch, unsigned begin, unsigned end,
                           Outcome& out) noexcept {
    return batch.which == nullptr ? pack_run<F, true>(batch, begin, end, out)
                                  : pack_run<F, false>(batch, begin, end, out);
}

Packer::Outcome Packer::pack(Batch& batch) noexcept {
    Outcome out;
    if (batch.count == 0) return out;
    // Stamps do not run backwards, whatever the clocks do. A port's own may lie in another year.
    if (batch.stamps != nullptr) batch.wall.first_ns = batch.stamps[batch.which ? *batch.which : 0];
    batch.wall.first_ns = std::max(last_ns_, batch.wall.first_ns);
    const std::int64_t now = batch.wall.first_ns;
    if (finished_ || over()) {
        out.refused = batch.count;
        return out;
    }
    // Without a block for the new file the old one goes on for another burst.
    if (block_ != nullptr && file_records_ != 0 && due_by_time_or_request(now)) switch_file(now);
    unsigned done = 0;
    while (done < batch.count && !finished_) {
        std::uint64_t most = batch.count - done;
        if (options_.stop.packets != 0) {
            most = std::min(most, options_.stop.packets - total_records_);
            if (most == 0) break;
        }
        if (options_.next_file.packets != 0) {
            if (file_records_ >= options_.next_file.packets && !switch_file(now)) break;
            most = std::min(most, options_.next_file.packets - file_records_);
        }
        const unsigned end = done + static_cast<unsigned>(most);
        unsigned packed = 0;
        switch (options_.format) {
            case Format::pcap_ns: packed = pack_some<Format::pcap_ns>(batch, done, end, out); break;
            case Format::pcap_us: packed = pack_some<Format::pcap_us>(batch, done, end, out); break;
            case Format::pcapng: packed = pack_some<Format::pcapng>(batch, done, end, out); break;
        }
        done += packed;
        if (done < end) {
            // One without a block; the next may be shorter, but order matters more than one packet.
            if (finished_) break;
            ++out.lost;
            ++lost_since_;
            ++done;
        }
    }
    const bool enough = options_.stop.packets != 0 && total_records_ >= options_.stop.packets;
    // The trailer may have to wait for a block; finish() is called until it could be written.
    if (enough) over_.store(true, std::memory_order_release);
    if (finished_ || enough)
        out.refused = batch.count - done;
    else if (done < batch.count) {
        out.lost += batch.count - done;
        lost_since_ += batch.count - done;
    }
    commit();
    return out;
}

}  // namespace sluice::capture
