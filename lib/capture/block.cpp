#include "capture/block.hpp"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>

namespace sluice::capture {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;

}  // namespace

Result<std::unique_ptr<BlockPool>> BlockPool::create(std::uint32_t block_bytes,
                                                     std::uint32_t count) {
    std::unique_ptr<BlockPool> pool(new BlockPool());
    SLUICE_TRY_VOID(pool->init(block_bytes, count));
    return pool;
}

Result<> BlockPool::init(std::uint32_t block_bytes, std::uint32_t count) {
    block_bytes_ = block_bytes;
    blocks_ = std::vector<Block>(count);
    const std::size_t wanted = std::size_t{block_bytes} * count;
    memory_bytes_ = (wanted + kHugePage - 1) / kHugePage * kHugePage;
    constexpr int kProtection = PROT_READ | PROT_WRITE;
    constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE;
    void* memory = ::mmap(nullptr, memory_bytes_, kProtection, kFlags | MAP_HUGETLB, -1, 0);
    huge_ = memory != MAP_FAILED;
    if (!huge_) {
        memory = ::mmap(nullptr, memory_bytes_, kProtection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED)
            return fail(errno, "capture: no memory for {} blocks of {} bytes; expected {} MiB "
                        "free, or a smaller buffer (-B)", count, block_bytes, memory_bytes_ >> 20);
        ::madvise(memory, memory_bytes_, MADV_HUGEPAGE);
        // Page faults belong here and not on the packet path.
        std::memset(memory, 0, memory_bytes_);
    }
    memory_ = static_cast<std::byte*>(memory);
    if (!free_.init(count) || !opened_.init(count))
        return fail(ENOMEM, "capture: no rings for {} blocks", count);
    for (std::uint32_t i = 0; i < count; ++i) {
        blocks_[i].data = memory_ + std::size_t{block_bytes} * i;
        give_back(&blocks_[i]);
    }
    return {};
}

BlockPool::~BlockPool() {
    if (memory_ != nullptr) ::munmap(memory_, memory_bytes_);
}

}  // namespace sluice::capture
