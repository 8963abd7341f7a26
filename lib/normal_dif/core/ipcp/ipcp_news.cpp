#include <algorithm>
#include <set>
#include <string>
#include <utility>

#include "normal_dif/core/faults.hpp"
#include "normal_dif/core/ipcp/ipcp.hpp"
#include "rina/rlite_name.hpp"

// What neighbours are told of the DIF: the tables when they come up, then all news, and what turns
// out to have been lost when they compare what they know.
namespace sluice::mgmt {

using rina::CdapMessage;
using rina::OpCode;
using rmt::N1PortId;

namespace {

// In one message: with names as long as they may be, it still fits the 8 KiB that rlite reads.
constexpr std::size_t kEntriesInMessage = 10;
constexpr std::size_t kMessageBytes = 7 * 1024;  // of entries, where we count them

// News takes a while through the DIF: tables that changed just now may well differ.
constexpr Duration kSettled = Duration::seconds(2);
constexpr unsigned kUnansweredMax = 3;  // then it is taken for somebody who does not compare

// How many bytes of a message an entry takes at most.
std::size_t bytes_of(const rina::NeighborCandidate& c) {
    std::size_t bytes = 32 + c.process.size() + c.instance.size();
    for (const std::string& dif : c.lower_difs) bytes += 4 + dif.size();
    return bytes;
}
std::size_t bytes_of(const rina::LowerFlow& f) {
    return 48 + f.local_node.size() + f.remote_node.size();
}
std::size_t bytes_of(const rina::DftEntry& e) {
    const rina::AppName& name = e.application;
    return 56 + name.process.size() + name.instance.size() + name.entity.size() +
           name.entity_instance.size() + e.ipcp.size();
}
std::size_t bytes_of(const rina::AddrAllocRequest& r) { return 32 + r.requestor.size(); }

// What an entry is about.
std::string key_of(const rina::NeighborCandidate& c) { return node_name(c); }
std::string key_of(const rina::LowerFlow& f) { return f.local_node + '\n' + f.remote_node; }
std::string key_of(const rina::DftEntry& e) {
    return rina::rlite_name(e.application) + '\n' + e.ipcp;
}
std::string key_of(const rina::AddrAllocRequest& r) { return fmt::to_string(r.address.value); }

template <typename List>
rina::RibName rib_name() {
    if constexpr (std::is_same_v<List, rina::NeighborCandidateList>)
        return rina::rib::kNeighbors;
    else if constexpr (std::is_same_v<List, rina::LowerFlowList>)
        return rina::rib::kRouting;
    else if constexpr (std::is_same_v<List, rina::DftSlice>)
        return rina::rib::kDft;
    else if constexpr (std::is_same_v<List, rina::AddrAllocRequest>)
        return rina::rib::kAddressClaim;
    else
        return rina::rib::kAddresses;
}

}  // namespace

// ---- telling others ----

template <typename List, typename Object>
void Ipcp::tell(N1PortId port, OpCode op, const std::vector<Object>& entries) {
    const rina::RibName object = rib_name<List>();
    if constexpr (std::is_same_v<List, Object>) {
        for (const Object& entry : entries)
            enrollment_.send_request(port, op, object, rina::value_of(entry));
    } else {
        List list;
        std::vector<Object>& batch = entries_of(list);
        std::size_t bytes = 0;
        const auto send = [&] {
            if (!batch.empty()) enrollment_.send_request(port, op, object, rina::value_of(list));
            batch.clear();
            bytes = 0;
        };
        for (const Object& entry : entries) {
            const std::size_t more = bytes_of(entry);
            if (config_.gather.ns == 0 ? batch.size() >= kEntriesInMessage
                                       : bytes + more > kMessageBytes)
                send();
            batch.push_back(entry);
            bytes += more;
        }
        send();
    }
}

// All of one of our tables; they are numbered as in TableDigests.
void Ipcp::tell_table(Instant now, N1PortId port, std::size_t table) {
    switch (table) {
        case 0:
            return tell<rina::NeighborCandidateList>(port, OpCode::create, members_.snapshot());
        case 1: return tell<rina::LowerFlowList>(port, OpCode::create, lfdb_.snapshot(now));
        case 2: return tell<rina::DftSlice>(port, OpCode::create, dft_.snapshot(now));
        default: return tell<rina::AddrAllocEntries>(port, OpCode::create, addresses_.snapshot());
    }
}

template <typename List, typename Object>
void Ipcp::flood(Instant now, const Changes<Object>& changes,
                 std::optional<N1PortId> from) {
    // Also by changes that nobody is told of, as when the age of an entry ends. What is only told
    // again from time to time is no change.
    if (changes.changed || !changes.silent()) digests_.reset();
    if (changes.changed) changed_at_ = now;
    if (changes.silent()) return;
    // Claims do not wait: how long they may be objected to is counted from now.
    if constexpr (!std::is_same_v<List, Object>) {
        if (config_.gather.ns > 0) {
            // Who becomes a neighbour later is told everything.
            if (ports_.empty()) return;
            auto& news = std::get<Held<List>>(held_).news;
            for (const Object& o : changes.create) news.push_back({OpCode::create, o, from});
            for (const Object& o : changes.remove) news.push_back({OpCode::remove, o, from});
            for (const Object& o : changes.create_all) news.push_back({OpCode::create, o, {}});
            for (const Object& o : changes.remove_all) news.push_back({OpCode::remove, o, {}});
            held_until_ = std::min(held_until_, now + config_.gather);
            return;
        }
    }
    for (const Enrollment::View& a : enrollment_.adjacencies()) {
        if (a.step != Enrollment::Step::up) continue;
        if (from != a.port || faults::is_active(faults::Fault::flood_goes_back)) {
            tell<List>(a.port, OpCode::create, changes.create);
            tell<List>(a.port, OpCode::remove, changes.remove);
        }
        tell<List>(a.port, OpCode::create, changes.create_all);
        tell<List>(a.port, OpCode::remove, changes.remove_all);
    }
}

template <typename List>
void Ipcp::tell_held() {
    auto news = std::exchange(std::get<Held<List>>(held_).news, {});
    if (news.empty()) return;
    // Only the last of what happened to an entry: to tell of a member's address that was another
    // for a moment would make those further on doubt what it came back to.
    std::set<std::string> later;
    for (auto one = news.rbegin(); one != news.rend(); ++one)
        one->over = !later.insert(key_of(one->object)).second;
    std::erase_if(news, [](const auto& one) { return one.over; });
    std::vector<EntryOf<List>> batch;
    for (const Enrollment::View& a : enrollment_.adjacencies()) {
        if (a.step != Enrollment::Step::up) continue;
        OpCode op = OpCode::create;
        const auto send = [&] {
            tell<List>(a.port, op, batch);
            batch.clear();
        };
        for (const auto& one : news) {
            if (one.from == a.port) continue;
            if (one.op != op) send();
            op = one.op;
            batch.push_back(one.object);
        }
        send();
    }
}

void Ipcp::tell_all_held() {
    held_until_ = Instant::never();
    tell_held<rina::NeighborCandidateList>();
    tell_held<rina::LowerFlowList>();
    tell_held<rina::DftSlice>();
    tell_held<rina::AddrAllocEntries>();
}

// ---- comparing with neighbours ----

const TableDigests& Ipcp::digests(Instant now) {
    if (!digests_)
        digests_ = TableDigests{{digest_of(members_.snapshot()), digest_of(lfdb_.snapshot(now)),
                                 digest_of(dft_.snapshot(now)), digest_of(addresses_.snapshot())}};
    return *digests_;
}

void Ipcp::begin_sync(Instant now, N1PortId port) {
    // Soon for the first time: what crossed is settled, and what was lost at the start is much.
    syncs_[port] = {now + kSettled * 2, {}, 0};
}

void Ipcp::send_digests(Instant now) {
    if (config_.sync.ns == 0 || !member_ || faults::is_active(faults::Fault::no_digests)) return;
    for (const Enrollment::View& a : enrollment_.adjacencies()) {
        if (a.step != Enrollment::Step::up) continue;
        const auto sync = syncs_.find(a.port);
        if (sync == syncs_.end()) continue;
        compare(now, a.port, sync->second);
        if (now < sync->second.at || sync->second.unanswered >= kUnansweredMax) continue;
        sync->second.at = now + config_.sync;
        ++sync->second.unanswered;
        enrollment_.send_request(a.port, OpCode::write, kDigestObject, encode(digests(now)));
    }
}

void Ipcp::on_digests(const CdapMessage& message) {
    if (config_.sync.ns == 0) return;
    const auto theirs = digests_in(message.value);
    const auto sync = syncs_.find(context_.port);
    if (!theirs || sync == syncs_.end()) return bad(IpcpDrop::bad_object);
    sync->second.unanswered = 0;
    if (!sync->second.theirs) sync->second.heard = context_.now;
    sync->second.theirs = theirs;
    compare(context_.now, context_.port, sync->second);
}

void Ipcp::compare(Instant now, N1PortId port, Sync& sync) {
    if (!sync.theirs) return;
    const TableDigests& ours = digests(now);
    // What changes all the time would never be compared, but for the end of patience.
    const bool settled = now >= changed_at_ + kSettled || now >= sync.heard + config_.sync / 2;
    if (*sync.theirs != ours && !settled) return;
    const TableDigests theirs = *std::exchange(sync.theirs, std::nullopt);
    // Not in answer to each: who says another one every time could make us talk all day.
    if (theirs == ours || now < sync.tell_from) return;
    sync.tell_from = now + config_.sync / 2;
    for (std::size_t table = 0; table < TableDigests::kTables; ++table) {
        if (theirs.of[table] == ours.of[table]) continue;
        ++tables_told_again_;
        tell_table(now, port, table);
    }
}

template void Ipcp::flood<rina::NeighborCandidateList>(Instant,
                                                       const Changes<rina::NeighborCandidate>&,
                                                       std::optional<N1PortId>);
template void Ipcp::flood<rina::LowerFlowList>(Instant, const Changes<rina::LowerFlow>&,
                                               std::optional<N1PortId>);
template void Ipcp::flood<rina::DftSlice>(Instant, const Changes<rina::DftEntry>&,
                                          std::optional<N1PortId>);
template void Ipcp::flood<rina::AddrAllocRequest>(Instant,
                                                  const Changes<rina::AddrAllocRequest>&,
                                                  std::optional<N1PortId>);
template void Ipcp::flood<rina::AddrAllocEntries>(Instant,
                                                  const Changes<rina::AddrAllocRequest>&,
                                                  std::optional<N1PortId>);

}  // namespace sluice::mgmt
