#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <set>
#include <string>
#include <vector>

#include "../trace.hpp"
#include "base/drop_reason.hpp"
#include "base/instant.hpp"
#include "base/result.hpp"
#include "base/rng.hpp"
#include "normal_dif/core/mgmt/flow_policies.hpp"
#include "rina/names.hpp"

// The simulation of whole networks: time, buffers, verdicts, and what a DIF is to its users. The
// machines in it are the product's; rings, wires, applications and trouble are models. One thread,
// one queue of events, no clock.
namespace sluice::sim {

using Bytes = std::vector<std::byte>;

// The first failure of a run; later ones are consequences.
class Verdicts {
  public:
    void fail(std::string_view checker, std::string text) {
        if (!first_) first_ = std::pair(std::string(checker), std::move(text));
    }
    bool failed() const noexcept { return first_.has_value(); }
    const std::pair<std::string, std::string>& first() const { return *first_; }

  private:
    std::optional<std::pair<std::string, std::string>> first_;
};

// Packet buffers with references, as mbufs are. Token conservation: who is done with one gives it
// back, once.
class Buffers {
  public:
    explicit Buffers(Verdicts& verdicts) : verdicts_(verdicts) {}

    PduToken make(Bytes bytes) {
        std::size_t i = slots_.size();
        if (free_.empty()) {
            slots_.emplace_back();
        } else {
            i = free_.back();
            free_.pop_back();
        }
        slots_[i].bytes = std::move(bytes);
        slots_[i].is_live = true;
        ++live_;
        return static_cast<PduToken>(slots_[i].generation << 24 | i);
    }
    Bytes& at(PduToken token) { return slot(token).bytes; }
    Bytes take(PduToken token) {
        Bytes out = std::move(slot(token).bytes);
        free(token);
        return out;
    }
    void free(PduToken token) {
        Slot& s = slot(token);
        if (!s.is_live) return;
        s.is_live = false;
        s.bytes.clear();
        ++s.generation;
        free_.push_back(static_cast<std::size_t>(token) & kIndex);
        --live_;
    }
    std::size_t live() const noexcept { return live_; }

  private:
    struct Slot {
        Bytes bytes;
        std::uint64_t generation = 1;
        bool is_live = false;
    };
    static constexpr std::size_t kIndex = (1u << 24) - 1;
    Slot& slot(PduToken token) {
        const auto v = static_cast<std::size_t>(token);
        Slot& s = slots_[v & kIndex];
        if (!s.is_live || s.generation != v >> 24)
            verdicts_.fail("tokens", "a buffer was used after it had been given back");
        return s;
    }

    Verdicts& verdicts_;
    std::vector<Slot> slots_;
    std::vector<std::size_t> free_;
    std::size_t live_ = 0;
};

class Clock {
  public:
    Instant now() const noexcept { return now_; }
    void at(Instant when, std::function<void()> act) {
        queue_.push({std::max(when, now_), next_++, std::move(act)});
    }
    void after(Duration d, std::function<void()> act) { at(now_ + d, std::move(act)); }
    // False if there is nothing until then.
    bool step(Instant until) {
        if (queue_.empty() || queue_.top().when > until) {
            now_ = std::max(now_, until);
            return false;
        }
        // The queue gives only const access to its top, which goes away at once.
        Event event = std::move(const_cast<Event&>(queue_.top()));
        queue_.pop();
        now_ = event.when;
        ++steps_;
        event.act();
        return true;
    }
    std::uint64_t steps() const noexcept { return steps_; }

  private:
    struct Event {
        Instant when{};
        std::uint64_t order = 0;
        std::function<void()> act;
        bool operator<(const Event& o) const noexcept {
            return when != o.when ? when > o.when : order > o.order;
        }
    };
    Instant now_ = Instant::zero() + Duration::seconds(1);
    std::uint64_t next_ = 0;
    std::uint64_t steps_ = 0;
    std::priority_queue<Event> queue_;
};

struct Env {
    explicit Env(std::uint64_t seed, bool prints) : trace(prints), rng(seed), buffers(verdicts) {}
    Verdicts verdicts;
    Trace trace;
    Rng rng;
    Clock clock;
    Buffers buffers;
    std::map<DropReason, std::uint64_t> drops;
    std::set<std::uint64_t> alive;  // who may still be called
    std::uint64_t next_life = 1;
    std::size_t under_way = 0;  // buffers in rings and on cables
    std::uint64_t messages = 0;     // of management, by all
    std::uint64_t moved = 0;        // members to other addresses, which ends their flows
    std::uint64_t given_up = 0;     // flows that had sent the same often enough

    Instant now() const noexcept { return clock.now(); }
    void drop(DropReason why) { ++drops[why]; }
};

class Provider;

// Who uses flows of a DIF: an application, or an IPC process of a DIF above.
class FlowUser {
  public:
    virtual ~FlowUser() = default;
    virtual void requested(Provider& dif, PortId flow, const rina::AppName& local,
                           const rina::AppName& remote) = 0;
    virtual void allocated(Provider& dif, PortId flow, std::uint32_t cookie,
                           const mgmt::FlowTerms& terms) = 0;
    virtual void failed(Provider& dif, std::uint32_t cookie, const std::string& why) = 0;
    virtual void closed(Provider& dif, PortId flow) = 0;  // the user has yet to deallocate
    virtual void arrived(Provider& dif, PortId flow, Bytes sdu) = 0;
    virtual void writable(Provider& dif, PortId flow) = 0;
};

// A DIF on one node. Calls of a user return at once; what comes of them comes later.
class Provider {
  public:
    virtual ~Provider() = default;
    virtual const std::string& dif() const = 0;
    virtual void register_name(FlowUser& user, const rina::AppName& name) = 0;
    virtual void unregister_name(const rina::AppName& name) = 0;
    virtual Result<> allocate(FlowUser& user, const rina::AppName& local,
                              const rina::AppName& remote, const mgmt::FlowSpec& spec,
                              std::uint32_t cookie) = 0;
    virtual void accept(FlowUser& user, PortId flow) = 0;
    virtual void deallocate(PortId flow) = 0;
    // False: not now, writable() will come.
    virtual bool write(PortId flow, const Bytes& sdu) = 0;
    // The user has gone, without a word.
    virtual void forget(FlowUser& user) = 0;
};

// forget() of a provider that has its flows and names in tables; `user` is in both.
template <typename Flows, typename Names>
void forget_user(Provider& dif, const Flows& flows, const Names& names, const FlowUser& user) {
    std::vector<PortId> ended;
    for (const auto& [id, flow] : flows)
        if (flow.user == &user) ended.push_back(id);
    for (const PortId id : ended) dif.deallocate(id);
    std::vector<std::string> gone;
    for (const auto& [name, who] : names)
        if (who == &user) gone.push_back(name);
    for (const std::string& name : gone)
        if (auto parsed = rina::AppName::parse(name)) dif.unregister_name(*parsed);
}

}  // namespace sluice::sim
