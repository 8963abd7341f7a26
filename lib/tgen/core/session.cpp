#include "tgen/core/session.hpp"

#include <algorithm>

namespace sluice::tgen {

std::string_view to_string(ClientState s) noexcept {
    switch (s) {
        case ClientState::idle: return "idle";
        case ClientState::starting: return "starting";
        case ClientState::running: return "running";
        case ClientState::finishing: return "finishing";
        case ClientState::done: return "done";
        case ClientState::failed: return "failed";
    }
    return "?";
}

std::string_view to_string(ClientFailure f) noexcept {
    switch (f) {
        case ClientFailure::none: return "none";
        case ClientFailure::no_report: return "no_report";
        case ClientFailure::flow_closed: return "flow_closed";
        case ClientFailure::stopped: return "stopped";
    }
    return "?";
}

std::string_view to_string(ServerState s) noexcept {
    switch (s) {
        case ServerState::waiting: return "waiting";
        case ServerState::running: return "running";
        case ServerState::finished: return "finished";
        case ServerState::refused: return "refused";
    }
    return "?";
}

ClientSession::ClientSession(const ClientSettings& settings) noexcept
    : settings_(settings),
      tag_(tag_of(settings.nonce)),
      pacer_(settings.rate, settings.burst != 0
                                ? settings.burst
                                : Pacer::default_burst(settings.rate, settings.sizes.to)),
      sizes_(settings.sizes),
      // Chunks of no bytes would never come to the end of the data.
      chunks_(settings.sizes.to > 0 ? settings.data : std::span<const std::byte>{}) {}

void ClientSession::begin(Instant now) noexcept {
    if (state_ != ClientState::idle) return;
    state_ = ClientState::starting;
    running_since_ = first_sent_ = last_sent_ = now;
}

void ClientSession::stop(Instant now) noexcept {
    if (state_ == ClientState::idle || state_ == ClientState::starting) {
        fail_with(ClientFailure::stopped);
    } else if (state_ == ClientState::running) {
        finish(now);
    }
}

void ClientSession::flow_closed() noexcept {
    if (!over()) fail_with(ClientFailure::flow_closed);
}

void ClientSession::fail_with(ClientFailure failure) noexcept {
    state_ = ClientState::failed;
    failure_ = failure;
}

void ClientSession::finish(Instant now) noexcept {
    state_ = ClientState::finishing;
    finishing_since_ = now;
    next_fin_ = now;
}

bool ClientSession::limit_reached(Instant now) const noexcept {
    if (settings_.count != 0 && sdus_ >= settings_.count) return true;
    if (settings_.bytes != 0 && bytes_ >= settings_.bytes) return true;
    if (settings_.mode == Mode::raw && chunks_.at_end()) return true;
    return settings_.duration.ns > 0 && now - running_since_ >= settings_.duration;
}

ClientSession::Want ClientSession::poll(Instant now) noexcept {
    if (state_ == ClientState::starting) return Want::start;
    if (state_ == ClientState::running) {
        if (!limit_reached(now)) {
            pacer_.advance(now);
            return pacer_.ready() ? Want::data : Want::nothing;
        }
        finish(now);
    }
    if (state_ != ClientState::finishing) return Want::nothing;
    if (now - finishing_since_ >= kReportTimeout) {
        fail_with(ClientFailure::no_report);
        return Want::nothing;
    }
    return now >= next_fin_ ? Want::fin : Want::nothing;
}

Instant ClientSession::deadline(Instant now) noexcept {
    switch (state_) {
        case ClientState::starting: return now;
        case ClientState::running: {
            if (limit_reached(now)) return now;
            const Instant next = pacer_.next(now);
            return settings_.duration.ns > 0
                       ? earlier(next, running_since_ + settings_.duration)
                       : next;
        }
        case ClientState::finishing:
            return std::max(now, earlier(next_fin_, finishing_since_ + kReportTimeout));
        default: return Instant::never();
    }
}

Start ClientSession::start_message() const noexcept {
    Start m;
    m.nonce = settings_.nonce;
    m.mode = settings_.mode;
    m.sizes = settings_.sizes;
    m.count = settings_.count;
    m.duration_ns = static_cast<std::uint64_t>(std::max<std::int64_t>(settings_.duration.ns, 0));
    m.bytes = settings_.bytes;
    if (m.bytes == 0 && settings_.mode == Mode::raw) m.bytes = settings_.data.size();
    m.clock = settings_.clock;
    return m;
}

void ClientSession::start_sent(Instant now) noexcept {
    if (state_ != ClientState::starting) return;
    state_ = ClientState::running;
    running_since_ = first_sent_ = last_sent_ = now;
    pacer_.start(now);
}

Fin ClientSession::fin_message() const noexcept {
    return {settings_.nonce, sdus_, bytes_, static_cast<std::uint64_t>(sending_time().ns)};
}

void ClientSession::fin_sent(Instant now) noexcept { next_fin_ = now + kFinPeriod; }

unsigned ClientSession::burst(Instant now, unsigned limit) noexcept {
    if (state_ != ClientState::running || limit_reached(now)) return 0;
    if (settings_.count != 0) {
        limit = static_cast<unsigned>(std::min<std::uint64_t>(settings_.count - sdus_, limit));
    }
    // Where sizes differ, the smallest gives the bound.
    return pacer_.due(now, settings_.sizes.from, limit);
}

void ClientSession::sent(Instant now) noexcept {
    const NextSdu sdu = peek();
    if (sdus_ == 0) first_sent_ = now;
    last_sent_ = now;
    ++sdus_;
    bytes_ += sdu.size;
    next_seq_ += sdu.stamped ? 1 : 0;
    sizes_.advance();
    chunks_.advance(sdu.payload.size());
    pacer_.spend(1, sdu.size);
    if (limit_reached(now)) finish(now);
}

void ClientSession::sent_run(unsigned count, Instant now) noexcept {
    const std::uint64_t bytes = std::uint64_t{count} * settings_.sizes.from;
    if (sdus_ == 0) first_sent_ = now;
    last_sent_ = now;
    sdus_ += count;
    bytes_ += bytes;
    next_seq_ += count;
    pacer_.spend(count, bytes);
    if (limit_reached(now)) finish(now);
}

void ClientSession::on_sdu(std::span<const std::byte> head, std::size_t size) noexcept {
    if (over() || state_ == ClientState::idle) return;
    const auto report = parse_report(head, size);
    if (!report || report->nonce != settings_.nonce) return;
    // Only a FIN is answered, so anything earlier is not for this FIN.
    if (state_ != ClientState::finishing) return;
    report_ = report;
    state_ = ClientState::done;
}

bool ServerSession::on_control(std::uint64_t tsc, std::span<const std::byte> head,
                               std::uint32_t size) noexcept {
    // In the middle of a file nothing but this run's own nonce makes a control message.
    const bool within_raw = state_ == ServerState::running && !stamped_;
    if (const auto start = parse_start(head, size)) {
        const bool ours = start_ && start_->nonce == start->nonce;
        if (within_raw && !ours) return false;
        if (!ours) on_start(*start, tsc);
        return true;
    }
    if (const auto fin = parse_fin(head, size)) {
        if (start_ && start_->nonce != fin->nonce) return false;
        fin_ = fin;
        if (state_ == ServerState::running) state_ = ServerState::finished;
        report_due_ = true;
        return true;
    }
    return false;
}

void ServerSession::on_start(const Start& start, std::uint64_t tsc) noexcept {
    start_ = start;
    fin_.reset();
    report_due_ = false;
    plain_size_ = ~0u;
    if (start.version != kVersion) {
        state_ = ServerState::refused;
        stamped_ = false;
        return;
    }
    state_ = ServerState::running;
    stamped_ = start.mode != Mode::raw;
    // What may be a control message has to be looked at.
    const std::uint32_t size = start.sizes.from;
    if (start.mode == Mode::plain && start.sizes.is_constant() && size != kStartSize &&
        size != kFinSize)
        plain_size_ = size;
    receiver_.start({start.nonce, start.mode, clock_.tsc_hz,
                     start.mode == Mode::stamped && same_clock(start.clock, clock_)},
                    tsc);
}

ServerSession::Verdict ServerSession::on_other(std::uint64_t tsc, std::span<const std::byte> head,
                                               std::uint32_t size) noexcept {
    if (on_control(tsc, head, size)) return Verdict::done;
    const bool known = state_ == ServerState::running || state_ == ServerState::finished;
    const bool plain = known && receiver_.settings().mode == Mode::plain;
    if (!known || (stamped_ && !plain && size >= kStampedHeaderSize)) {
        receiver_.on_foreign();
        return Verdict::done;
    }
    if (stamped_) {
        receiver_.on_unstamped(tsc, 1, size);
        return Verdict::done;
    }
    receiver_.on_raw(tsc, size);
    return Verdict::payload;
}

Report ServerSession::report() const noexcept {
    Report r = receiver_.report(fin_ ? std::optional(fin_->sdus) : std::nullopt);
    // A FIN whose START was lost is answered too: nothing of the run was counted as its own.
    if (fin_) r.nonce = fin_->nonce;
    return r;
}

}  // namespace sluice::tgen
