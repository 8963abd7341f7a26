#include "normal_dif/core/mgmt/qos_cubes.hpp"

#include <algorithm>

namespace sluice::mgmt {

namespace {

Result<> check(const QosCube& cube, const rina::PciFormat& format) {
    if (cube.name.empty()) return fail(EINVAL, "QoS cube {}: expected a name", cube.id.value);
    if (format.qos < 2 && cube.id.value > 255)
        return fail(EINVAL, "QoS cube {}: id {}; expected at most 255 in this DIF", cube.name,
                    cube.id.value);
    if (cube.loss > kLossAny)
        return fail(EINVAL, "QoS cube {}: loss of {}/10000; expected at most 10000", cube.name,
                    cube.loss);
    if (cube.bandwidth_bps_min > cube.bandwidth_bps_max)
        return fail(EINVAL, "QoS cube {}: flows of {} to {} bit/s; expected the smaller one first",
                    cube.name, cube.bandwidth_bps_min, cube.bandwidth_bps_max);
    if (cube.sdu_gap_max && *cube.sdu_gap_max < -1)
        return fail(EINVAL, "QoS cube {}: gap of {} SDUs; expected -1 (any) or more", cube.name,
                    *cube.sdu_gap_max);
    if (cube.sdu_gap_max == 0 && cube.in_order == false)
        return fail(EINVAL, "QoS cube {}: no gaps, but out of order; retransmission needs order",
                    cube.name);
    return {};
}

bool bounded(std::uint32_t wanted, const std::optional<std::uint32_t>& promised) noexcept {
    return wanted == 0 || (promised && *promised <= wanted);
}

}  // namespace

QosCubes::QosCubes() {
    QosCube cube;
    cube.name = "best-effort";
    cubes_.push_back(std::move(cube));
}

Result<QosCubes> QosCubes::make(std::vector<QosCube> cubes, const rina::PciFormat& format) {
    if (cubes.empty()) return fail(EINVAL, "QoS cubes: there is none; expected one or more");
    for (auto cube = cubes.begin(); cube != cubes.end(); ++cube) {
        SLUICE_TRY_VOID(check(*cube, format));
        const auto same = std::find_if(cubes.begin(), cube, [&](const QosCube& other) {
            return other.id == cube->id || other.name == cube->name;
        });
        if (same != cube)
            return fail(EINVAL, "QoS cubes {} and {} have the same id or name; expected that "
                                "each has its own",
                        same->name, cube->name);
    }
    QosCubes made;
    made.cubes_ = std::move(cubes);
    return made;
}

const QosCube* QosCubes::choose(const FlowSpec& spec) const noexcept {
    for (const QosCube& cube : cubes_)
        if (serves(cube, spec)) return &cube;
    return nullptr;
}

const QosCube* QosCubes::find(rina::QosId id) const noexcept {
    for (const QosCube& cube : cubes_)
        if (cube.id == id) return &cube;
    return nullptr;
}

bool serves(const QosCube& cube, const FlowSpec& spec) noexcept {
    if (!bounded(spec.delay_us, cube.delay_us) || !bounded(spec.jitter_us, cube.jitter_us))
        return false;
    if (spec.avg_bandwidth_bps < cube.bandwidth_bps_min ||
        spec.avg_bandwidth_bps > cube.bandwidth_bps_max)
        return false;
    // Nothing is lost for good where it is sent again, whatever the cube loses.
    const FlowSpec made = within(cube, spec);
    if (!made.reliable() && cube.loss > spec.max_loss) return false;
    if (spec.max_sdu_gap >= 0 && (made.max_sdu_gap < 0 || made.max_sdu_gap > spec.max_sdu_gap))
        return false;
    return !spec.in_order || made.in_order;
}

FlowSpec within(const QosCube& cube, FlowSpec spec) noexcept {
    if (cube.sdu_gap_max) spec.max_sdu_gap = *cube.sdu_gap_max;
    if (cube.in_order) spec.in_order = *cube.in_order;
    return spec;
}

}  // namespace sluice::mgmt
