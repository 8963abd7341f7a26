#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/result.hpp"
#include "capture/chunk.hpp"
#include "capture/pointer_ring.hpp"

namespace sluice::capture {

// A part of a file. The blocks of a file, one behind the other, are its bytes: every one but the
// last is full, so each lies at a multiple of the block size, as O_DIRECT wants it, and records go
// on from one to the next. The recorder fills a block that the writer knows already and moves
// `fill`; all other members are set before the fill that covers them is committed.
struct alignas(64) Block : Chunk {
    bool first = false;       // of its file: begins with the file's header
    bool last = false;        // of its file; good once sealed
    std::uint32_t whole = 0;  // bytes up to the end of the last record that ends here
};

// Memory for blocks and the two rings they travel in. One recorder, one writer.
class BlockPool {
  public:
    // Memory in hugepages where some are free, and touched before it is used.
    static Result<std::unique_ptr<BlockPool>> create(std::uint32_t block_bytes,
                                                     std::uint32_t count);
    ~BlockPool();
    BlockPool(const BlockPool&) = delete;
    BlockPool& operator=(const BlockPool&) = delete;

    std::uint32_t block_bytes() const noexcept { return block_bytes_; }
    std::uint32_t count() const noexcept { return static_cast<std::uint32_t>(blocks_.size()); }
    std::span<std::byte> memory() const noexcept { return {memory_, memory_bytes_}; }
    bool huge() const noexcept { return huge_; }
    // Any thread, roughly: blocks that are neither being filled nor written.
    std::uint32_t free_count() const noexcept { return free_.count(); }

    // Recorder.
    Block* take() noexcept { return free_.pop(); }
    void hand_over(Block* block) noexcept { opened_.push(block); }
    // Writer.
    Block* next() noexcept { return opened_.pop(); }
    void give_back(Block* block) noexcept { free_.push(block); }

  private:
    BlockPool() = default;
    Result<> init(std::uint32_t block_bytes, std::uint32_t count);

    std::uint32_t block_bytes_ = 0;
    std::byte* memory_ = nullptr;
    std::size_t memory_bytes_ = 0;
    bool huge_ = false;
    std::vector<Block> blocks_;
    PointerRing<Block> free_;
    PointerRing<Block> opened_;
};

}  // namespace sluice::capture
