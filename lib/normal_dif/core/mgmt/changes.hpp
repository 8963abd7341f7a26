#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "rina/names.hpp"

// What the databases of layer management have in common: how they say what became of a message.
namespace sluice::mgmt {

// M_CREATE or M_DELETE.
enum class Action : std::uint8_t { create, remove };

// Why a database did not take an entry that it had not known.
enum class Refusal : std::uint8_t {
    malformed,    // it cannot be meant
    about_us,     // it says of us what is not so
    table_full,
    origin_full,  // one node has as many as a node may have
    too_often,    // it changes more often than anything honest does
    sender_busy,  // the neighbour that sent it has had more taken than it may have
};
inline constexpr std::size_t kRefusalCount = 6;
std::string_view to_string(Refusal refusal) noexcept;

class RefusalCounts {
  public:
    void add(Refusal refusal) noexcept { ++counts_[static_cast<std::size_t>(refusal)]; }
    void add(const RefusalCounts& other) noexcept {
        for (std::size_t i = 0; i < kRefusalCount; ++i) counts_[i] += other.counts_[i];
    }
    std::uint64_t of(Refusal refusal) const noexcept {
        return counts_[static_cast<std::size_t>(refusal)];
    }
    std::uint64_t total() const noexcept {
        std::uint64_t sum = 0;
        for (const std::uint64_t count : counts_) sum += count;
        return sum;
    }

  private:
    std::array<std::uint64_t, kRefusalCount> counts_{};
};

// What follows from a message, a tick, or an operation of our own.
template <typename Object>
struct Changes {
    // To be passed on to all enrolled neighbours but the one that the news came from.
    std::vector<Object> create, remove;
    // To be sent to all of them: our own word, also to who said otherwise.
    std::vector<Object> create_all, remove_all;
    bool changed = false;           // what the database answers is not what it answered before
    std::uint32_t known = 0;        // entries that said nothing new
    std::uint32_t contested = 0;    // entries of ours that somebody else spoke about
    RefusalCounts refused;

    bool silent() const noexcept {
        return create.empty() && remove.empty() && create_all.empty() && remove_all.empty();
    }
};

// Neither empty nor longer than a name may be, and nothing that terminals would act upon.
bool is_node_name(std::string_view name) noexcept;
// Members are called by one string: the parts of the name, with bars.
rina::AppName app_name_of(const std::string& node);

}  // namespace sluice::mgmt
