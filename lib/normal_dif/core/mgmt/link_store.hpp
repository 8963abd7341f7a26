#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "normal_dif/core/mgmt/interned.hpp"
#include "normal_dif/core/mgmt/replicated_table.hpp"
#include "rina/objects.hpp"

namespace sluice::mgmt {

// Link states in 32 bytes each, in one block of memory for each node that they begin at. A node has
// few links, so blocks are kept in order by moving what follows; the limit of entries of one node
// bounds that for those who claim many.
class LinkStore {
  public:
    using Object = rina::LowerFlow;
    struct Slot : SlotState {
        bool is_up : 1 = false;
        NameId local = 0, remote = 0;
        std::uint32_t cost = 0;
        std::uint32_t number = 0;
    };
    static_assert(sizeof(Slot) == 32);

    LinkStore(std::string_view self, NameTable& names)
        : names_(&names), self_(names.acquire(self)) {}
    LinkStore(LinkStore&& other) noexcept
        : names_(other.names_),
          self_(other.self_),
          blocks_(std::exchange(other.blocks_, {})),
          size_(std::exchange(other.size_, 0)) {
        names_->retain(self_);
    }
    LinkStore& operator=(LinkStore&& other) noexcept {
        std::swap(names_, other.names_);
        std::swap(self_, other.self_);
        std::swap(blocks_, other.blocks_);
        std::swap(size_, other.size_);
        return *this;
    }
    ~LinkStore() {
        for (const Block& block : blocks_)
            for (const Slot& slot : block) forget_names(slot);
        names_->release(self_);
    }

    Slot* find(const Object& like) {
        Block* const block = block_of(like.local_node);
        if (block == nullptr) return nullptr;
        const auto at = place(*block, like.remote_node);
        return at == block->end() || (*names_)[at->remote] != like.remote_node ? nullptr : &*at;
    }
    const Slot* find(const Object& like) const { return const_cast<LinkStore*>(this)->find(like); }
    Slot& insert(const Object& object) {
        Slot slot;
        slot.local = names_->acquire(object.local_node);
        slot.remote = names_->acquire(object.remote_node);
        assign(slot, object);
        if (blocks_.size() <= slot.local) blocks_.resize(slot.local + 1);
        Block& block = blocks_[slot.local];
        ++size_;
        return *block.insert(place(block, object.remote_node), slot);
    }
    void erase(Slot& slot) {
        Block& block = blocks_[slot.local];
        forget_names(slot);
        block.erase(block.begin() + (&slot - block.data()));
        if (block.empty()) Block().swap(block);
        --size_;
    }
    std::size_t size() const noexcept { return size_; }
    std::size_t of_origin(const Object& like) const {
        const Block* const block = const_cast<LinkStore*>(this)->block_of(like.local_node);
        return block == nullptr ? 0 : block->size();
    }

    Object object(const Slot& slot) const {
        return {(*names_)[slot.local], (*names_)[slot.remote], slot.cost, slot.number, slot.is_up,
                0};
    }
    void assign(Slot& slot, const Object& object) const {
        slot.cost = object.cost;
        slot.number = object.sequence;
        slot.is_up = object.is_up;
    }
    bool same(const Slot& slot, const Object& object) const {
        return slot.cost == object.cost && slot.is_up == object.is_up;
    }
    bool is_own(const Slot& slot) const { return slot.local == self_; }
    static std::uint64_t sequence(const Slot& slot) { return slot.number; }
    static void set_sequence(Slot& slot, std::uint64_t number) {
        slot.number = static_cast<std::uint32_t>(number);
    }

    template <typename IsOver>
    void sweep(IsOver&& is_over) {
        for (Block& block : blocks_) {
            const std::size_t before = block.size();
            std::erase_if(block, [&](Slot& slot) {
                const bool over = is_over(slot);
                if (over) forget_names(slot);
                return over;
            });
            size_ -= before - block.size();
            if (block.empty() && before > 0) Block().swap(block);
        }
    }
    // In the order of names, as messages to others are to be.
    template <typename Visit>
    void for_each(Visit&& visit) const {
        std::vector<NameId> origins;
        for (NameId id = 0; id < blocks_.size(); ++id)
            if (!blocks_[id].empty()) origins.push_back(id);
        std::sort(origins.begin(), origins.end(),
                  [&](NameId a, NameId b) { return (*names_)[a] < (*names_)[b]; });
        for (const NameId id : origins)
            for (const Slot& slot : blocks_[id]) visit(slot);
    }
    // In any order.
    template <typename Visit>
    void visit_all(Visit&& visit) const {
        for (const Block& block : blocks_)
            for (const Slot& slot : block) visit(slot);
    }
    template <typename Visit>
    void for_each_own(Visit&& visit) const {
        if (self_ >= blocks_.size()) return;
        for (const Slot& slot : blocks_[self_]) visit(slot);
    }
    const NameTable& names() const noexcept { return *names_; }

  private:
    using Block = std::vector<Slot>;

    Block* block_of(std::string_view local) {
        const auto id = names_->find(local);
        return !id || *id >= blocks_.size() ? nullptr : &blocks_[*id];
    }
    // By name: numbers depend on who was heard of first.
    Block::iterator place(Block& block, std::string_view remote) const {
        return std::lower_bound(
            block.begin(), block.end(), remote,
            [&](const Slot& slot, std::string_view name) { return (*names_)[slot.remote] < name; });
    }
    void forget_names(const Slot& slot) const {
        names_->release(slot.local);
        names_->release(slot.remote);
    }

    NameTable* names_;
    NameId self_;
    std::vector<Block> blocks_;  // by the number of the local node
    std::size_t size_ = 0;
};

}  // namespace sluice::mgmt
