#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace sluice::capture {

// How far a chunk is filled, in one word: the writer may read a chunk that its tap still fills.
struct ChunkFill {
    std::uint32_t bytes = 0;
    std::uint32_t records = 0;
    bool sealed = false;  // the tap has let go of it

    constexpr std::uint64_t packed() const noexcept {
        return std::uint64_t{bytes} | std::uint64_t{records} << 32 | std::uint64_t{sealed} << 63;
    }
    static constexpr ChunkFill unpacked(std::uint64_t v) noexcept {
        return {static_cast<std::uint32_t>(v), static_cast<std::uint32_t>(v >> 32) & 0x7fff'ffff,
                (v >> 63) != 0};
    }
};

// Records, as they will stand in the file. A tap hands the chunk to the writer when it opens it
// and then only moves `fill`; what is committed by it belongs to the writer.
struct alignas(64) Chunk {
    std::byte* data = nullptr;
    std::atomic<std::uint64_t> fill{0};

    void commit(ChunkFill f) noexcept { fill.store(f.packed(), std::memory_order_release); }
    ChunkFill seen() const noexcept {
        return ChunkFill::unpacked(fill.load(std::memory_order_acquire));
    }
};

}  // namespace sluice::capture
