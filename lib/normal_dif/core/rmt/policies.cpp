#include "normal_dif/core/rmt/policies.hpp"

#include <algorithm>
#include <array>
#include <string>
#include <vector>

namespace sluice::rmt {

namespace {

using policy::Params;

constexpr std::uint64_t kBytesMax = std::uint64_t{1} << 40;
constexpr std::uint64_t kPdusMax = std::uint64_t{1} << 20;
constexpr std::uint64_t kNever = std::numeric_limits<std::uint64_t>::max();

QueueLimits limits_of(Params& params) {
    QueueLimits limits;
    limits.bytes_max = params.number("queue_bytes", limits.bytes_max, 1, kBytesMax);
    limits.pdus_max =
        static_cast<std::uint32_t>(params.number("queue_pdus", limits.pdus_max, 1, kPdusMax));
    limits.mark_above_bytes = params.number("mark_bytes", kNever, 0, kNever);
    return limits;
}

Result<AnyScheduler> make_fifo(Params& params) {
    const QueueLimits limits = limits_of(params);
    SLUICE_TRY_VOID(params.finish());
    return FifoScheduler(limits);
}

Result<AnyScheduler> make_pfifo(Params& params) {
    const std::uint64_t levels = params.number("levels", 1, 1, kQueuesMax);
    const QueueLimits limits = limits_of(params);
    SLUICE_TRY_VOID(params.finish());
    return PriorityScheduler(levels, limits);
}

// Quanta that stand to each other as the weights do; the least is the parameter "quantum".
std::vector<std::uint32_t> quanta_of(Params& params, std::uint64_t quantum) {
    const std::vector<std::uint64_t> weights =
        params.numbers("weights", {1, 4}, 1, 1000, kQueuesMax);
    // Less, and queues would have to be visited many times for one PDU.
    quantum = params.number("quantum", quantum, 256, 1 << 20);
    const std::uint64_t least = *std::min_element(weights.begin(), weights.end());
    std::vector<std::uint32_t> quanta;
    for (const std::uint64_t weight : weights)
        quanta.push_back(static_cast<std::uint32_t>(weight * quantum / least));
    return quanta;
}

template <typename S, std::uint64_t kQuantum>
Result<AnyScheduler> make_rounds(Params& params) {
    const std::vector<std::uint32_t> quanta = quanta_of(params, kQuantum);
    const QueueLimits limits = limits_of(params);
    SLUICE_TRY_VOID(params.finish());
    return S(quanta, limits);
}

// "rate=10M,burst=20k,weight=4,delay=0,loss=1", each of them if wanted.
Result<QosCube> cube_of(const Params& outer, const Params::Numbered& given) {
    std::vector<policy::Param> parts;
    for (std::string_view rest = given.value; !rest.empty();) {
        const std::string_view part = rest.substr(0, rest.find(','));
        rest.remove_prefix(std::min(rest.size(), part.size() + 1));
        const std::size_t equals = part.find('=');
        if (equals == std::string_view::npos)
            return fail(EINVAL, "{}: parameter '{}' has '{}', expected KEY=NUMBER", outer.what(),
                        given.key, part);
        parts.push_back({part.substr(0, equals), part.substr(equals + 1)});
    }
    Params params(fmt::format("{}, {}", outer.what(), given.key), parts);
    QosCube cube;
    cube.id = rina::QosId{static_cast<std::uint16_t>(given.number)};
    cube.rate_bps = params.number("rate", 0, 0, 10'000'000'000'000);
    cube.burst_bytes =
        static_cast<std::uint32_t>(params.number("burst", cube.burst_bytes, 0, 1u << 30));
    cube.weight = static_cast<std::uint32_t>(params.number("weight", 1, 1,
                                                           QosScheduler::kWeightMax));
    cube.delay_class = static_cast<std::uint8_t>(
        params.number("delay", 0, 0, QosScheduler::kDelayClasses - 1));
    cube.loss_class =
        static_cast<std::uint8_t>(params.number("loss", 0, 0, QosScheduler::kLossClasses - 1));
    SLUICE_TRY_VOID(params.finish());
    return cube;
}

Result<AnyScheduler> make_qos(Params& params) {
    QosScheduler::Params p;
    for (const Params::Numbered& given : params.numbered("cube", 65535)) {
        SLUICE_TRY(const QosCube cube, cube_of(params, given));
        p.cubes.push_back(cube);
    }
    std::vector<std::uint64_t> delays;
    for (const Duration delay : p.delays) delays.push_back(static_cast<std::uint64_t>(delay.ns));
    for (std::uint64_t& delay : delays) delay /= 1000;
    delays = params.numbers("delays_us", delays, 1, 60'000'000, p.delays.size());
    // Classes that are not given are as patient as the last one that is.
    for (std::size_t i = 0; i < p.delays.size(); ++i)
        p.delays[i] = Duration::microseconds(
            static_cast<std::int64_t>(delays[std::min(i, delays.size() - 1)]));
    p.shared_bytes = params.number("shared_bytes", p.shared_bytes, 0, kBytesMax);
    p.own_bytes = params.number("own_bytes", p.own_bytes, 0, kBytesMax);
    p.pdus_max = static_cast<std::uint32_t>(params.number("queue_pdus", p.pdus_max, 1, kPdusMax));
    p.mark_above_bytes = params.number("mark_bytes", kNever, 0, kNever);
    p.link_bps = params.number("link", 0, 0, kBytesMax);
    if (p.cubes.empty()) p.cubes.emplace_back();
    const std::uint64_t otherwise = params.number("default", p.cubes[0].id.value, 0, 65535);
    SLUICE_TRY_VOID(params.finish());
    const auto at = std::find_if(p.cubes.begin(), p.cubes.end(),
                                 [&](const QosCube& c) { return c.id.value == otherwise; });
    if (at == p.cubes.end())
        return fail(EINVAL, "{}: parameter 'default' is {}, expected the number of a cube",
                    params.what(), otherwise);
    p.otherwise = static_cast<std::size_t>(at - p.cubes.begin());
    auto made = QosScheduler::make(p);
    if (!made) return fail(EINVAL, "{}: {}", params.what(), made.error().message);
    return std::move(*made);
}

constexpr std::array kPolicies = {
    SchedulerPolicy{"fifo", "one queue", "queue_bytes=131072 queue_pdus=1024 mark_bytes=never",
                    make_fifo},
    SchedulerPolicy{"pfifo", "strict priority by QoS-id, 0 first",
                    "levels=1 queue_bytes=131072 queue_pdus=1024 mark_bytes=never", make_pfifo},
    SchedulerPolicy{"wrr", "weighted round robin by QoS-id, the last PDU of a turn may overdraw",
                    "weights=1:4 quantum=2000 queue_bytes=131072 queue_pdus=1024 mark_bytes=never",
                    make_rounds<WrrScheduler, 2000>},
    SchedulerPolicy{"drr", "deficit round robin by QoS-id",
                    "weights=1:4 quantum=1500 queue_bytes=131072 queue_pdus=1024 mark_bytes=never",
                    make_rounds<DrrScheduler, 1500>},
    SchedulerPolicy{"qos", "QoS cubes with guaranteed rates, deadlines and shares",
                    "cube.ID=rate=0,burst=10000,weight=1,delay=0,loss=0 default=FIRST "
                    "delays_us=200:500:1000:2000:5000:10000:20000:50000 shared_bytes=131072 "
                    "own_bytes=16384 queue_pdus=1024 mark_bytes=never link=unknown",
                    make_qos},
};

}  // namespace

std::span<const SchedulerPolicy> scheduler_policies() noexcept { return kPolicies; }

Result<AnyScheduler> make_scheduler(std::string_view name, std::span<const policy::Param> params) {
    for (const SchedulerPolicy& known : kPolicies) {
        if (known.name != name) continue;
        Params reader(fmt::format("scheduler {}", name), params);
        return known.make(reader);
    }
    std::vector<std::string> names;
    for (const SchedulerPolicy& known : kPolicies) names.emplace_back(known.name);
    return fail(EINVAL, "scheduler '{}' is not known, expected one of {}", name,
                policy::join(names));
}

}  // namespace sluice::rmt
