#include "capture/capture_config.hpp"

namespace sluice::capture {

Result<CaptureConfig> checked(CaptureConfig c) {
    if (c.snaplen == 0 || c.snaplen > pcap::kSnaplenMax)
        return fail(EINVAL, "capture: snaplen of {} bytes, expected 1 to {}", c.snaplen,
                    pcap::kSnaplenMax);
    if (c.chunk_bytes > kChunkBytesMax)
        return fail(EINVAL, "capture: chunks of {} bytes, expected at most {}", c.chunk_bytes,
                    kChunkBytesMax);
    c.chunk_bytes = (c.chunk_bytes + kChunkAlign - 1) / kChunkAlign * kChunkAlign;
    const std::uint32_t record = c.snaplen + static_cast<std::uint32_t>(pcap::kRecordHeaderBytes);
    if (c.chunk_bytes < record)
        return fail(EINVAL, "capture: chunks of {} bytes cannot hold the longest record of {} "
                    "(snaplen {} and its header); raise the chunk size or lower snaplen",
                    c.chunk_bytes, record, c.snaplen);
    if (c.chunks < 2 || c.chunks > kChunksMax)
        return fail(EINVAL, "capture: {} chunks a tap, expected 2 to {}", c.chunks, kChunksMax);
    constexpr Duration kLongest = Duration::seconds(60);
    if (c.flush_interval < Duration::milliseconds(1) || c.flush_interval > kLongest)
        return fail(EINVAL, "capture: flush interval of {}, expected 1 ms to 60 s",
                    to_string(c.flush_interval));
    if (c.merge_window < Duration::milliseconds(1) || c.merge_window > kLongest)
        return fail(EINVAL, "capture: merge window of {}, expected 1 ms to 60 s",
                    to_string(c.merge_window));
    return c;
}

}  // namespace sluice::capture
