#include "pair.hpp"

#include <fmt/format.h>

#include "normal_dif/core/efcp/control_pdu.hpp"

namespace sluice::efcp::test {

namespace {

PduToken token_of(std::uintptr_t n) { return static_cast<PduToken>(n); }
std::uintptr_t number_of(PduToken token) { return static_cast<std::uintptr_t>(token); }

}  // namespace

Pair::Pair(const PairConfig& config)
    : config_(config), rng_(config.seed), link_{link_model::LinkModel(config.link),
                                                link_model::LinkModel(config.link)} {
    for (int i = 0; i < 2; ++i)
        ends_[i].connection =
            std::make_unique<Connection>(ids_of(i), config.policies, config.format);
}

void Pair::offer(int i, std::size_t count) {
    End& end = ends_[i];
    for (std::size_t n = 0; n < count; ++n) {
        std::vector<std::byte> sdu(rng_.between(0, config_.sdu_bytes_max));
        for (std::byte& b : sdu) b = static_cast<std::byte>(rng_.next());
        end.to_send.push_back(std::move(sdu));
    }
    submit(i);
}

void Pair::submit(int i) {
    End& end = ends_[i];
    while (end.submitted < end.to_send.size()) {
        std::vector<TxItem> items;
        for (std::size_t n = end.submitted; n < end.to_send.size() && items.size() < 32; ++n) {
            const std::uintptr_t token = next_token_++;
            end.tx_inside.insert(token);
            end.sdu_of[token] = n;
            items.push_back(
                {token_of(token), static_cast<std::uint32_t>(end.to_send[n].size())});
        }
        const std::size_t taken = end.connection->submit(now_, items, out_);
        for (std::size_t n = taken; n < items.size(); ++n) {
            end.tx_inside.erase(number_of(items[n].token));
            end.sdu_of.erase(number_of(items[n].token));
        }
        end.submitted += taken;
        take(i, out_);
        if (taken < items.size()) break;
    }
    settle(i);
}

// Carries the outbox out and empties it.
void Pair::take(int i, Outbox& out) {
    End& end = ends_[i];
    const auto leave = [&](std::set<std::uintptr_t>& inside, PduToken token, const char* how) {
        if (inside.erase(number_of(token)) != 1)
            fault(fmt::format("end {}: token {} {} and not held", i, number_of(token), how));
    };
    for (const SendItem& item : out.send) {
        const std::uintptr_t token = number_of(item.token);
        if (end.tx_inside.count(token) == 0)
            fault(fmt::format("end {}: token {} sent and not held", i, token));
        const std::vector<std::byte>& sdu = end.to_send[end.sdu_of[token]];
        if (item.pci.length != config_.format.bytes() + sdu.size())
            fault(fmt::format("end {}: PDU of {} bytes for an SDU of {}", i, item.pci.length,
                              sdu.size()));
        std::vector<std::byte> frame(config_.format.bytes() + sdu.size());
        rina::write(item.pci, config_.format, frame.data());
        std::copy(sdu.begin(), sdu.end(), frame.begin() + config_.format.bytes());
        transmit(i, std::move(frame), item.pci);
        if (!item.kept) leave(end.tx_inside, item.token, "sent");
    }
    for (const ControlItem& item : out.control) {
        std::vector<std::byte> frame(item.pci.length);
        write(item, config_.format, frame.data());
        ++end.controls;
        transmit(i, std::move(frame), item.pci);
    }
    for (const DeliverItem& item : out.deliver) {
        const auto at = end.frame_of.find(number_of(item.token));
        leave(end.rx_inside, item.token, "delivered");
        if (at == end.frame_of.end()) continue;
        const std::size_t head = config_.format.bytes();
        if (item.bytes + head != at->second.size()) fault("delivered with a wrong length");
        end.got.emplace_back(at->second.begin() + static_cast<long>(head), at->second.end());
        end.got_sequences.push_back(item.sequence);
        end.frame_of.erase(at);
        queue_.push({now_ + config_.read_after, order_++, -1 - i, {}});
    }
    const auto gone = [&](PduToken token, const char* how) {
        std::set<std::uintptr_t>& inside =
            end.tx_inside.count(number_of(token)) != 0 ? end.tx_inside : end.rx_inside;
        leave(inside, token, how);
        end.frame_of.erase(number_of(token));
    };
    for (const PduToken token : out.done) gone(token, "done");
    for (const DropItem& item : out.drop) {
        ++end.drops[item.reason];
        gone(item.token, "dropped");
    }
    end.events |= out.events;
    out.clear();
}

void Pair::transmit(int from, std::vector<std::byte> frame, const rina::Pci& pci) {
    if (on_frame) on_frame(from, pci, now_);
    digest_ = digest_ * 1099511628211ull + pci.sequence * 31 + pci.type + frame.size();
    if (lose && lose(from, pci, now_)) return;
    const link_model::LinkVerdict verdict = link_[from].apply(now_, rng_, frame.size());
    for (int copy = 0; copy < verdict.copies; ++copy)
        queue_.push({verdict.at[copy], order_++, 1 - from, frame});
}

void Pair::arrive(int to, std::vector<std::vector<std::byte>>& frames) {
    End& end = ends_[to];
    std::vector<RxItem> items;
    for (std::vector<std::byte>& frame : frames) {
        RxItem item;
        if (rina::parse(frame, frame.size(), config_.format, item.pci) != rina::PciError::none)
            fault("a frame that does not parse");
        const std::uintptr_t token = next_token_++;
        end.rx_inside.insert(token);
        std::vector<std::byte>& kept = end.frame_of[token];
        kept = std::move(frame);
        item.token = token_of(token);
        item.bytes = kept;
        items.push_back(item);
    }
    std::span<const RxItem> rest = items;
    while (!rest.empty()) {
        const std::size_t taken = end.connection->on_burst(now_, rest, out_);
        rest = rest.subspan(taken);
        take(to, out_);
    }
    settle(to);
}

// Deadlines that have passed mean that there is more.
void Pair::settle(int i) {
    End& end = ends_[i];
    for (int rounds = 0; end.connection->next_deadline() <= now_; ++rounds) {
        if (rounds == 10000) {
            fault(fmt::format("end {}: a deadline in the past that does not go away", i));
            break;
        }
        end.connection->on_timeout(now_, out_);
        take(i, out_);
    }
    if ((end.events & event::kWritable) != 0) {
        end.events &= static_cast<std::uint8_t>(~event::kWritable);
        submit(i);
        return;
    }
    end.wake_at = end.connection->next_deadline();
}

bool Pair::all_delivered() const {
    return ends_[0].got.size() >= ends_[1].to_send.size() &&
           ends_[1].got.size() >= ends_[0].to_send.size();
}

void Pair::run(Instant until) {
    while (true) {
        Instant at = earlier(ends_[0].wake_at, ends_[1].wake_at);
        if (!queue_.empty()) at = earlier(at, queue_.top().at);
        if (at > until || at.is_never()) break;
        now_ = std::max(now_, at);
        ++handled_;
        if (!queue_.empty() && queue_.top().at <= now_) {
            const int to = queue_.top().to;
            std::vector<std::vector<std::byte>> frames;
            while (!queue_.empty() && queue_.top().at <= now_ + config_.gather &&
                   queue_.top().to == to && frames.size() < 48) {
                frames.push_back(queue_.top().frame);
                now_ = std::max(now_, queue_.top().at);
                queue_.pop();
            }
            if (to >= 0) {
                arrive(to, frames);
            } else {
                const int reader = -1 - to;
                ends_[reader].connection->consumed(
                    now_, static_cast<std::uint32_t>(frames.size()), out_);
                take(reader, out_);
                settle(reader);
            }
            continue;
        }
        for (int i = 0; i < 2; ++i)
            if (ends_[i].wake_at <= now_) settle(i);
    }
    if (!until.is_never()) now_ = std::max(now_, until);
}

bool Pair::run_until_delivered(Instant until) {
    while (!all_delivered() && now_ < until) {
        const Instant before = now_;
        const std::uint64_t handled = handled_;
        run(earlier(until, now_ + Duration::milliseconds(50)));
        if (now_ == before && handled_ == handled) break;
    }
    return all_delivered();
}

void Pair::close(int i, Duration linger) {
    ends_[i].connection->close(now_, linger, out_);
    take(i, out_);
    settle(i);
}

void Pair::finish() {
    for (int i = 0; i < 2; ++i) {
        for (int rounds = 0; rounds < 100000; ++rounds) {
            const bool is_done = ends_[i].connection->abort(out_);
            take(i, out_);
            if (is_done) break;
        }
        if (!ends_[i].tx_inside.empty())
            fault(fmt::format("end {}: {} tokens to send were lost", i, ends_[i].tx_inside.size()));
        if (!ends_[i].rx_inside.empty())
            fault(fmt::format("end {}: {} tokens received were lost", i,
                              ends_[i].rx_inside.size()));
    }
}

}  // namespace sluice::efcp::test
