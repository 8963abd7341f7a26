#include "normal_dif/core/rmt/sched_qos.hpp"

#include <algorithm>

#include "base/rng.hpp"

namespace sluice::rmt {

namespace {

constexpr unsigned kFraction = 20;
// A cube that comes back is at most a long PDU ahead of the others. More means that the counter of
// virtual time has come round meanwhile.
constexpr std::int64_t kAheadMax = std::int64_t{1} << (30 + kFraction);
constexpr std::uint64_t kRateMin = 8, kRateMax = 10'000'000'000'000;

Duration time_of(std::uint64_t bytes, std::uint64_t ns_per_byte) noexcept {
    return Duration::nanoseconds(
        static_cast<std::int64_t>(static_cast<Uint128>(bytes) * ns_per_byte >> kFraction));
}

Result<> check_cube(const QosCube& cube) {
    if (cube.weight < 1 || cube.weight > QosScheduler::kWeightMax)
        return fail(EINVAL, "QoS cube {}: weight {}, expected 1 to {}", cube.id.value, cube.weight,
                    QosScheduler::kWeightMax);
    if (cube.delay_class >= QosScheduler::kDelayClasses)
        return fail(EINVAL, "QoS cube {}: delay class {}, expected 0 to {}", cube.id.value,
                    cube.delay_class, QosScheduler::kDelayClasses - 1);
    if (cube.loss_class >= QosScheduler::kLossClasses)
        return fail(EINVAL, "QoS cube {}: loss class {}, expected 0 to {}", cube.id.value,
                    cube.loss_class, QosScheduler::kLossClasses - 1);
    if (cube.rate_bps != 0 && (cube.rate_bps < kRateMin || cube.rate_bps > kRateMax))
        return fail(EINVAL, "QoS cube {}: rate of {} bit/s, expected 0 or {} to {}", cube.id.value,
                    cube.rate_bps, kRateMin, kRateMax);
    return {};
}

}  // namespace

Result<QosScheduler> QosScheduler::make(const Params& params) {
    if (params.cubes.empty() || params.cubes.size() > kCubesMax)
        return fail(EINVAL, "{} QoS cubes, expected 1 to {}", params.cubes.size(), kCubesMax);
    if (params.otherwise >= params.cubes.size())
        return fail(EINVAL, "QoS cube number {} is to take what no cube does, expected below {}",
                    params.otherwise, params.cubes.size());
    std::uint64_t guaranteed = 0;
    for (const QosCube& cube : params.cubes) {
        SLUICE_TRY_VOID(check_cube(cube));
        guaranteed += cube.rate_bps;
        if (std::count_if(params.cubes.begin(), params.cubes.end(),
                          [&](const QosCube& other) { return other.id == cube.id; }) != 1)
            return fail(EINVAL, "QoS cube {} is given twice, expected once", cube.id.value);
    }
    const std::uint64_t most = params.link_bps - params.link_bps / kShareOf;
    if (params.link_bps != 0 && guaranteed > most)
        return fail(EINVAL,
                    "QoS cubes are guaranteed {} bit/s, expected at most {}, 15/16 of the link",
                    guaranteed, most);
    return QosScheduler(params);
}

QosScheduler::QosScheduler(const Params& params)
    : otherwise_(static_cast<std::uint8_t>(params.otherwise)), own_bytes_(params.own_bytes) {
    QueueLimits limits;
    limits.pdus_max = params.pdus_max;
    limits.bytes_max = std::numeric_limits<std::uint64_t>::max();
    limits.mark_above_bytes = params.mark_above_bytes;
    for (const QosCube& from : params.cubes) {
        Cube cube{PduQueue(limits), from.id, params.delays[from.delay_class], {}};
        if (from.rate_bps != 0) {
            cube.ns_per_byte = (std::uint64_t{8'000'000'000} << kFraction) / from.rate_bps;
            cube.burst = time_of(from.burst_bytes, cube.ns_per_byte);
        }
        cube.share_per_byte = (std::uint64_t{1} << kFraction) / from.weight;
        cube.room_bytes = params.shared_bytes / kLossClasses * (kLossClasses - from.loss_class);
        const std::size_t id = from.id.value;
        if (id >= index_.size()) index_.resize(id + 1, otherwise_);
        index_[id] = static_cast<std::uint8_t>(cubes_.size());
        cubes_.push_back(std::move(cube));
    }
}

Enqueue QosScheduler::enqueue(Instant now, const SchedItem& item) noexcept {
    Cube& cube = cube_of(item.qos);
    const Backlog before = cube.queue.backlog();
    const std::uint64_t more =
        beyond_own(before.bytes + item.bytes) - beyond_own(before.bytes);
    if (before.pdus >= cube.queue.limits().pdus_max ||
        (more != 0 && shared_used_ + more > cube.room_bytes))
        return cube.queue.refuse(item);
    const Enqueue result = cube.queue.accept(now, item);
    shared_used_ += more;
    ++backlog_.pdus;
    backlog_.bytes += item.bytes;
    if (before.pdus == 0) {
        const auto ahead = static_cast<std::int64_t>(cube.share_at - virtual_now_);
        if (ahead < 0 || ahead > kAheadMax) cube.share_at = virtual_now_;
        line_up(static_cast<std::size_t>(&cube - cubes_.data()), now);
    }
    return result;
}

// The cube has got another first PDU.
void QosScheduler::line_up(std::size_t index, Instant now) noexcept {
    Cube& cube = cubes_[index];
    shares_.push(index, static_cast<std::int64_t>(cube.share_at));
    if (cube.ns_per_byte == 0) return;
    cube.eligible = std::max(cube.queue.front().arrival, cube.conforms - cube.burst);
    if (cube.eligible <= now)
        urgent_.push(index, (cube.eligible + cube.delay).ns);
    else
        later_.push(index, cube.eligible.ns);
}

bool QosScheduler::is_share_due() const noexcept {
    if (urgent_.empty()) return true;
    const std::uint64_t bytes = cubes_[shares_.top()].queue.front().bytes;
    return owed_ >= bytes * (kShareOf - 1);
}

void QosScheduler::charge(Cube& cube, std::uint32_t bytes, bool shared) noexcept {
    if (shared) {
        virtual_now_ = cube.share_at;
        cube.share_at += bytes * cube.share_per_byte;
        // Nothing is owed for what nobody had to wait for.
        if (!urgent_.empty()) owed_ -= bytes * (kShareOf - 1);
        return;
    }
    cube.conforms = std::max(cube.conforms, cube.eligible) + time_of(bytes, cube.ns_per_byte);
    cube.bytes_guaranteed += bytes;
    owed_ += bytes;
}

std::size_t QosScheduler::dequeue(Instant now, std::uint64_t budget,
                                  std::span<SchedItem> out) noexcept {
    while (!later_.empty() && later_.top_key() <= now.ns) {
        const std::size_t index = later_.pop();
        urgent_.push(index, (cubes_[index].eligible + cubes_[index].delay).ns);
    }
    std::size_t count = 0;
    while (count < out.size() && !shares_.empty()) {
        const bool shared = is_share_due();
        const std::size_t index = shared ? shares_.top() : urgent_.top();
        Cube& cube = cubes_[index];
        const Backlog before = cube.queue.backlog();
        const std::uint32_t bytes = cube.queue.front().bytes;
        if (bytes > budget) break;
        budget -= bytes;
        charge(cube, bytes, shared);
        shares_.remove(index);
        urgent_.remove(index);
        later_.remove(index);
        out[count++] = cube.queue.pop();
        shared_used_ -= beyond_own(before.bytes) - beyond_own(before.bytes - bytes);
        --backlog_.pdus;
        backlog_.bytes -= bytes;
        if (!cube.queue.empty()) line_up(index, now);
    }
    return count;
}

}  // namespace sluice::rmt
