#include "capture/drain.hpp"

#include <algorithm>

#include "base/log.hpp"

namespace sluice::capture {
namespace {

constexpr std::size_t kPiecesMax = 512;
// Taps get their chunks back after a write, so it must not grow without need.
constexpr std::uint64_t kBatchBytes = 1u << 20;

// The part of some records that the first `bytes` bytes hold completely.
struct Whole {
    std::uint64_t bytes = 0;
    std::uint64_t records = 0;
};
Whole whole_records(std::span<const pcap::Bytes> pieces, std::uint64_t bytes) noexcept {
    Whole w;
    for (const pcap::Bytes piece : pieces) {
        for (std::size_t at = 0; at < piece.size();) {
            const std::size_t n = pcap::kRecordHeaderBytes + pcap::record_captured(&piece[at]);
            if (w.bytes + n > bytes) return w;
            w.bytes += n;
            ++w.records;
            at += n;
        }
    }
    return w;
}

}  // namespace

Drain::Drain(pcap::Sink& sink, const CaptureConfig& config)
    : sink_(sink),
      resolution_(config.resolution),
      linktype_(config.linktype),
      snaplen_(config.snaplen),
      merge_window_ns_(config.merge_window.ns) {
    pieces_.reserve(kPiecesMax);
}

Result<> Drain::write_file_header() {
    const auto header = pcap::file_header(linktype_, resolution_, snaplen_);
    const pcap::Bytes pieces[] = {header};
    pcap::Written w = sink_.write(pieces);
    if (w.error) return fail(std::move(*w.error));
    counters_.file_bytes.add(w.bytes);
    return {};
}

// The order matters: first what the tap says of the future, then what it has committed.
void Drain::refresh(Source& s, std::int64_t wall_now_ns, Take take) const {
    s.closing = s.retired.load(std::memory_order_acquire);
    s.complete_to = std::max(s.tap->complete_to(), wall_now_ns - merge_window_ns_);
    if (s.closing || take == Take::all) s.complete_to = kForever;
    while (Chunk* chunk = s.tap->next_opened()) s.chunks.push_back({chunk, {}});
    for (Source::Waiting& w : s.chunks)
        if (!w.seen.sealed) w.seen = w.chunk->seen();
}

std::int64_t Drain::stamp_at(const Source& s) const noexcept {
    return pcap::wall_ns_of(pcap::record_stamp(s.chunks.front().chunk->data + s.bytes_taken),
                            resolution_);
}

// Time of the source's first record; kForever if it has none. Lets go of emptied chunks.
std::int64_t Drain::head_stamp(Source& s) {
    while (!s.chunks.empty()) {
        const Source::Waiting& first = s.chunks.front();
        if (s.bytes_taken < first.seen.bytes) return stamp_at(s);
        if (!first.seen.sealed) break;
        done_.emplace_back(s.tap.get(), first.chunk);
        s.chunks.pop_front();
        s.bytes_taken = 0;
        s.records_taken = 0;
    }
    return kForever;
}

// A tap whose chunks are nearly all waiting for slower ones loses packets next. Its oldest chunks
// go out then, as if the others had nothing before: the time up to which to take all records.
std::int64_t Drain::relief_stamp(const Source& s) const noexcept {
    const std::size_t enough = std::max<std::size_t>(1, s.tap->chunk_count() / 4 * 3);
    const auto sealed = static_cast<std::size_t>(std::count_if(
        s.chunks.begin(), s.chunks.end(), [](const auto& w) { return w.seen.sealed; }));
    if (sealed < enough) return kNever;
    const std::size_t next = sealed - enough + 1;  // the first chunk that may stay
    if (next >= s.chunks.size() || s.chunks[next].seen.bytes == 0) return kForever;
    return pcap::wall_ns_of(pcap::record_stamp(s.chunks[next].chunk->data), resolution_);
}

bool Drain::round(std::span<Source* const> sources, std::int64_t wall_now_ns, Take take) {
    for (Source* s : sources) refresh(*s, wall_now_ns, take);
    if (sources.size() == 1 && head_stamp(*sources[0]) >= written_ns_) {
        take_chunks(*sources[0]);
    } else {
        std::int64_t horizon = kForever;
        for (const Source* s : sources) horizon = std::min(horizon, s->complete_to);
        for (const Source* s : sources) horizon = std::max(horizon, relief_stamp(*s));
        merge(sources, horizon);
    }
    write_batch();
    return std::any_of(sources.begin(), sources.end(),
                       [this](Source* s) { return head_stamp(*s) != kForever; });
}

bool Drain::finished(const Source& s) noexcept {
    return s.closing &&
           (s.chunks.empty() ||
            (s.chunks.size() == 1 && s.bytes_taken == s.chunks.front().seen.bytes));
}

// A single tap: its chunks are in order as they are.
void Drain::take_chunks(Source& s) {
    while (head_stamp(s) != kForever) {
        const Source::Waiting& first = s.chunks.front();
        const pcap::Bytes piece{first.chunk->data + s.bytes_taken,
                                first.seen.bytes - s.bytes_taken};
        const std::uint32_t records = first.seen.records - s.records_taken;
        if (s.chunks.size() == 1 || s.chunks[1].seen.bytes == 0) {
            // Only the last piece is walked: for the time from which another tap may go on.
            for (std::size_t at = 0; at < piece.size();
                 at += pcap::kRecordHeaderBytes + pcap::record_captured(&piece[at]))
                written_ns_ = pcap::wall_ns_of(pcap::record_stamp(&piece[at]), resolution_);
        }
        s.bytes_taken = first.seen.bytes;
        s.records_taken = first.seen.records;
        add_piece(piece, records);
    }
}

// Takes the records up to the horizon, always from the source whose next one is the oldest.
void Drain::merge(std::span<Source* const> sources, std::int64_t horizon) {
    for (;;) {
        Source* oldest = nullptr;
        std::int64_t first = kForever;
        std::int64_t second = kForever;
        for (Source* s : sources) {
            const std::int64_t stamp = head_stamp(*s);
            if (stamp < first) {
                second = first;
                first = stamp;
                oldest = s;
            } else if (stamp < second) {
                second = stamp;
            }
        }
        if (oldest == nullptr || first > horizon) return;
        take_run(*oldest, std::min(second, horizon));
    }
}

// The records of the source's first chunk that are not younger than `limit`.
void Drain::take_run(Source& s, std::int64_t limit) {
    const Source::Waiting first = s.chunks.front();
    const std::uint32_t begin = s.bytes_taken;
    const std::uint32_t records_before = s.records_taken;
    while (s.bytes_taken < first.seen.bytes) {
        const std::int64_t stamp = stamp_at(s);
        if (stamp > limit) break;
        std::byte* const at = first.chunk->data + s.bytes_taken;
        if (stamp < written_ns_) {
            pcap::put_record_stamp(at, pcap::stamp_of(written_ns_, resolution_));
            counters_.restamped.add(1);
        } else {
            written_ns_ = stamp;
        }
        s.bytes_taken += static_cast<std::uint32_t>(pcap::kRecordHeaderBytes) +
                         pcap::record_captured(at);
        ++s.records_taken;
    }
    add_piece({first.chunk->data + begin, s.bytes_taken - begin},
              s.records_taken - records_before);
}

void Drain::add_piece(pcap::Bytes piece, std::uint32_t records) {
    pieces_.push_back(piece);
    batch_bytes_ += piece.size();
    batch_records_ += records;
    if (pieces_.size() == kPiecesMax || batch_bytes_ >= kBatchBytes) write_batch();
}

void Drain::write_batch() {
    if (!pieces_.empty()) {
        if (torn_) {
            counters_.write_errors.add(batch_records_);
        } else if (pcap::Written w = sink_.write(pieces_); w.error) {
            write_failed(w);
        } else {
            counters_.captured.add(batch_records_);
            counters_.bytes.add(batch_bytes_ - batch_records_ * pcap::kRecordHeaderBytes);
            counters_.file_bytes.add(batch_bytes_);
        }
    }
    for (const auto& [tap, chunk] : done_) tap->give_back(chunk);
    done_.clear();
    pieces_.clear();
    batch_bytes_ = 0;
    batch_records_ = 0;
}

// The file is left at the end of a whole record, so that it can be read, and continued when there
// is room again.
void Drain::write_failed(pcap::Written& written) {
    report(*written.error);
    const Whole whole = whole_records(pieces_, written.bytes);
    counters_.captured.add(whole.records);
    counters_.bytes.add(whole.bytes - whole.records * pcap::kRecordHeaderBytes);
    counters_.write_errors.add(batch_records_ - whole.records);
    if (written.bytes == whole.bytes) {
        counters_.file_bytes.add(whole.bytes);
        return;
    }
    if (sink_.truncate(counters_.file_bytes.get() + whole.bytes)) {
        counters_.file_bytes.add(whole.bytes);
        return;
    }
    counters_.file_bytes.add(written.bytes);
    torn_ = true;
}

void Drain::report(const Error& error) {
    const std::lock_guard lock(error_mutex_);
    if (!error_.empty()) return;
    error_ = error.message;
    log::error("capture", "{}; packets are missing in the capture from here on", error_);
}

std::string Drain::error() const {
    const std::lock_guard lock(error_mutex_);
    return error_;
}

}  // namespace sluice::capture
