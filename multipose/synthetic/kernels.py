"""Compiled ray casting: nearest hits, procedural coats, light and shadow. Plain arrays in, plain arrays out.

A shape is a row of `SHAPE` numbers: 0 kind, 1 row of its coat, 2..10 rotation world_from_shape (row by row), 11..13 its
translation, 14..16 dimensions, 17..19 middle and 20 radius of a sphere that holds it. Dimensions by kind:
cone (a tapered capsule along z from the origin): length, radius at the start, at the end; ellipsoid: half axes;
box: half sides; cylinder (about z): radius, unused, half height.

A coat is a row of `COAT` numbers: 0..2 first colour, 3..5 second colour, 6 pattern, 7 noise frequency per unit, 8 share
of the length at which the first colour turns into the second, 9 contrast of the noise, 10 stretch of the noise along z,
11 gloss. Colours are linear reflectances.

It is one file because the cache of its machine code is keyed by the file.

The tapered capsule's intersection follows I. Quilez, "Round cone - intersection" (2018); the ambient shade of spheres
his "Sphere - occlusion".

All of it is one file, because the machine code is cached under the hash of the file that a kernel stands in.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

from multipose.compilation import Kernel

SHAPE, COAT = 21, 12
CONE, ELLIPSOID, BOX, CYLINDER = 0, 1, 2, 3
NOISE, FUR, STRIPES, CHECKS, BOARD, MIRROR = 0, 1, 2, 3, 4, 5  # patterns
FAR = 1e9
_TINY = 1e-30
_LIFT = 0.02  # shadow rays start this far off the surface, mirrored rays this far along their way
_TIE = 1e-6  # surfaces less far apart along a ray stand at the same depth: the first in order is seen
_SKY = 0.5  # where a ray meets nothing it brings this share of the surroundings' light
_SHINE = 0.92  # reflectance of a mirror
_PENUMBRA = 0.1  # rad, holds the lamp's half-shadow
_BACK = 1e4  # how far back a line is started that may begin inside a hull
_REACH = 4.0  # radii within which a ball shades the surroundings' light

# Functions within the kernels allocate nothing, so numba need not count references to their arrays (1.5 times as fast).
_device: Any = numba.njit(
    nogil=True,
    error_model="numpy",
    fastmath={"contract", "nsz"},
    _nrt=False,
    no_cpython_wrapper=True,
    no_cfunc_wrapper=True,
)


@_device
def _hash(x, y, z):  # type: ignore[no-untyped-def]
    """A number in [0, 1) for a point of the integer lattice."""
    h = np.uint32(x) * np.uint32(374761393) + np.uint32(y) * np.uint32(668265263) + np.uint32(z) * np.uint32(2147483647)
    h = np.uint32((h ^ (h >> np.uint32(13))) * np.uint32(1274126177))
    h = np.uint32((h ^ (h >> np.uint32(16))) * np.uint32(2246822519))
    return float(h ^ (h >> np.uint32(15))) / 4294967296.0


@_device
def _noise(x, y, z):  # type: ignore[no-untyped-def]
    """Smooth value noise in [0, 1), about one feature per unit."""
    fx, fy, fz = math.floor(x), math.floor(y), math.floor(z)
    i, j, k = int(fx), int(fy), int(fz)
    u, v, w = x - fx, y - fy, z - fz
    u, v, w = u * u * (3.0 - 2.0 * u), v * v * (3.0 - 2.0 * v), w * w * (3.0 - 2.0 * w)
    return (1.0 - w) * _plane(i, j, k, u, v) + w * _plane(i, j, k + 1, u, v)


@_device
def _plane(i, j, k, u, v):  # type: ignore[no-untyped-def]
    low = (1.0 - u) * _hash(i, j, k) + u * _hash(i + 1, j, k)
    return (1.0 - v) * low + v * ((1.0 - u) * _hash(i, j + 1, k) + u * _hash(i + 1, j + 1, k))


@_device
def _layers(x, y, z):  # type: ignore[no-untyped-def]
    """Three octaves of noise, in [0, 1)."""
    return (
        4.0 * _noise(x, y, z)
        + 2.0 * _noise(2.03 * x + 17.0, 2.03 * y + 5.0, 2.03 * z)
        + _noise(4.1 * x, 4.1 * y + 31.0, 4.1 * z + 7.0)
    ) / 7.0


@_device
def _hit_cone(length, ra, rb, ox, oy, oz, dx, dy, dz):  # type: ignore[no-untyped-def]
    rr = ra - rb
    m0 = length * length
    m1, m2 = length * oz, length * dz
    m3 = dx * ox + dy * oy + dz * oz
    m5 = ox * ox + oy * oy + oz * oz
    pz = oz - length
    m6 = dx * ox + dy * oy + dz * pz
    m7 = ox * ox + oy * oy + pz * pz
    d2 = m0 - rr * rr
    k2 = d2 - m2 * m2
    k1 = d2 * m3 - m1 * m2 + m2 * rr * ra
    k0 = d2 * m5 - m1 * m1 + 2.0 * m1 * rr * ra - m0 * ra * ra
    h = k1 * k1 - k0 * k2
    if h >= 0.0 and k2 != 0.0:
        t = (-math.sqrt(h) - k1) / k2
        y = m1 - ra * rr + t * m2
        if t > 0.0 and 0.0 < y < d2:
            x, w, z = ox + t * dx, oy + t * dy, oz + t * dz
            nx, ny, nz = d2 * x, d2 * w, d2 * z - length * y
            n = 1.0 / math.sqrt(nx * nx + ny * ny + nz * nz)
            return t, nx * n, ny * n, nz * n
    best, nx, ny, nz = FAR, 0.0, 0.0, 1.0
    h1 = m3 * m3 - m5 + ra * ra
    if h1 > 0.0:
        t = -m3 - math.sqrt(h1)
        if t > 0.0:
            best = t
            nx, ny, nz = (ox + t * dx) / ra, (oy + t * dy) / ra, (oz + t * dz) / ra
    h2 = m6 * m6 - m7 + rb * rb
    if h2 > 0.0:
        t = -m6 - math.sqrt(h2)
        if 0.0 < t < best:
            best = t
            nx, ny, nz = (ox + t * dx) / rb, (oy + t * dy) / rb, (pz + t * dz) / rb
    return best, nx, ny, nz


@_device
def _hit_ellipsoid(rx, ry, rz, ox, oy, oz, dx, dy, dz):  # type: ignore[no-untyped-def]
    a, b, c = 1.0 / rx, 1.0 / ry, 1.0 / rz
    px, py, pz, qx, qy, qz = ox * a, oy * b, oz * c, dx * a, dy * b, dz * c
    qq = qx * qx + qy * qy + qz * qz
    pq = px * qx + py * qy + pz * qz
    h = pq * pq - qq * (px * px + py * py + pz * pz - 1.0)
    if h <= 0.0:
        return FAR, 0.0, 0.0, 1.0
    t = (-pq - math.sqrt(h)) / qq
    if t <= 0.0:
        return FAR, 0.0, 0.0, 1.0
    nx, ny, nz = (px + t * qx) * a, (py + t * qy) * b, (pz + t * qz) * c
    n = 1.0 / math.sqrt(nx * nx + ny * ny + nz * nz)
    return t, nx * n, ny * n, nz * n


@_device
def _hit_box(hx, hy, hz, ox, oy, oz, dx, dy, dz):  # type: ignore[no-untyped-def]
    # A ray square to an axis enters its slab at minus infinity and leaves it at infinity, or misses it.
    dx, dy, dz = dx or _TINY, dy or _TINY, dz or _TINY
    ix, iy, iz = 1.0 / dx, 1.0 / dy, 1.0 / dz
    tx, ty, tz = -ox * ix - hx * abs(ix), -oy * iy - hy * abs(iy), -oz * iz - hz * abs(iz)
    far = min(hx * abs(ix) - ox * ix, hy * abs(iy) - oy * iy, hz * abs(iz) - oz * iz)
    near = max(tx, ty, tz)
    if not (0.0 < near <= far):
        return FAR, 0.0, 0.0, 1.0
    if near == tx:
        return near, -1.0 if dx > 0.0 else 1.0, 0.0, 0.0
    if near == ty:
        return near, 0.0, -1.0 if dy > 0.0 else 1.0, 0.0
    return near, 0.0, 0.0, -1.0 if dz > 0.0 else 1.0


@_device
def _hit_cylinder(r, half, ox, oy, oz, dx, dy, dz):  # type: ignore[no-untyped-def]
    best, nx, ny, nz = FAR, 0.0, 0.0, 1.0
    if dz != 0.0:
        side = -1.0 if dz > 0.0 else 1.0
        t = (side * half - oz) / dz
        x, y = ox + t * dx, oy + t * dy
        if t > 0.0 and x * x + y * y <= r * r:
            best, nz = t, side
    a = dx * dx + dy * dy
    b = ox * dx + oy * dy
    h = b * b - a * (ox * ox + oy * oy - r * r)
    if a > 0.0 and h > 0.0:
        t = (-b - math.sqrt(h)) / a
        if 0.0 < t < best and abs(oz + t * dz) <= half:
            best, nx, ny, nz = t, (ox + t * dx) / r, (oy + t * dy) / r, 0.0
    return best, nx, ny, nz


@_device
def _hit(shapes, k, i, ox, oy, oz, dx, dy, dz):  # type: ignore[no-untyped-def]
    """Distance along a ray to shape i of instant k (`FAR`: missed) and the normal there, in the shape's frame."""
    cx, cy, cz = shapes[k, i, 17] - ox, shapes[k, i, 18] - oy, shapes[k, i, 19] - oz
    r = shapes[k, i, 20]
    along = cx * dx + cy * dy + cz * dz
    if cx * cx + cy * cy + cz * cz - along * along > r * r or along < -r:
        return FAR, 0.0, 0.0, 1.0
    lx, ly, lz = _place(shapes, k, i, ox, oy, oz)
    vx, vy, vz = _turn(shapes, k, i, dx, dy, dz)
    kind, a, b, c = int(shapes[k, i, 0]), shapes[k, i, 14], shapes[k, i, 15], shapes[k, i, 16]
    if kind == CONE:
        return _hit_cone(a, b, c, lx, ly, lz, vx, vy, vz)
    if kind == ELLIPSOID:
        return _hit_ellipsoid(a, b, c, lx, ly, lz, vx, vy, vz)
    if kind == BOX:
        return _hit_box(a, b, c, lx, ly, lz, vx, vy, vz)
    return _hit_cylinder(a, c, lx, ly, lz, vx, vy, vz)


@_device
def _turn(shapes, k, i, x, y, z):  # type: ignore[no-untyped-def]
    """A direction of the world in the shape's frame."""
    return (
        shapes[k, i, 2] * x + shapes[k, i, 5] * y + shapes[k, i, 8] * z,
        shapes[k, i, 3] * x + shapes[k, i, 6] * y + shapes[k, i, 9] * z,
        shapes[k, i, 4] * x + shapes[k, i, 7] * y + shapes[k, i, 10] * z,
    )


@_device
def _place(shapes, k, i, x, y, z):  # type: ignore[no-untyped-def]
    """A point of the world in the shape's frame."""
    return _turn(shapes, k, i, x - shapes[k, i, 11], y - shapes[k, i, 12], z - shapes[k, i, 13])


@_device
def _blocked(shapes, k, ox, oy, oz, dx, dy, dz):  # type: ignore[no-untyped-def]
    """Whether a ray meets any shape of instant k."""
    i = 0
    while i < shapes.shape[1] and _hit(shapes, k, i, ox, oy, oz, dx, dy, dz)[0] == FAR:
        i += 1
    return i < shapes.shape[1]


@_device
def _blend(low, high, x):  # type: ignore[no-untyped-def]
    """0 below `low`, 1 above `high`."""
    x = min(1.0, max(0.0, (x - low) / (high - low)))
    return x * x * (3.0 - 2.0 * x)


@_device
def _paint(coats, c, print_, a, b, x, y, z, nz):  # type: ignore[no-untyped-def]
    """Linear reflectance (r, g, b) of coat c at a point of a shape of dimensions a, b, ... in the shape's frame."""
    pattern = int(coats[c, 6])
    scale = coats[c, 7]
    if pattern == BOARD:
        if nz > -0.5:
            return coats[c, 3], coats[c, 4], coats[c, 5]
        height, width = print_.shape
        u = (x / a + 1.0) * 0.5 * width - 0.5
        v = (y / b + 1.0) * 0.5 * height - 0.5
        u, v = min(max(u, 0.0), width - 1.001), min(max(v, 0.0), height - 1.001)
        i, j = int(u), int(v)
        p, q = u - i, v - j
        ink = (1.0 - q) * ((1.0 - p) * print_[j, i] + p * print_[j, i + 1]) + q * (
            (1.0 - p) * print_[j + 1, i] + p * print_[j + 1, i + 1]
        )
        return coats[c, 0] * ink, coats[c, 1] * ink, coats[c, 2] * ink
    grain = _layers(x * scale + 3.1, y * scale + 7.7, z * scale * coats[c, 10] + 1.3)
    share, brightness = 0.0, 1.0 + coats[c, 9] * (grain - 0.5) * 2.0
    if pattern == NOISE:
        share, brightness = grain, 1.0 + coats[c, 9] * (_noise(x * scale * 5.0, y * scale * 5.0, z * scale * 5.0) - 0.5)
    elif pattern == FUR:
        share = _blend(-0.9, 0.9, z + 2.5 * (grain - 0.5) - coats[c, 8] * a)
    elif pattern == STRIPES:
        share = 1.0 if math.sin(2.0 * math.pi * (coats[c, 8] * z + 0.15 * grain)) > 0.0 else 0.0
    elif pattern == CHECKS:
        side = coats[c, 8]
        share = float((math.floor(side * x) + math.floor(side * y) + math.floor(side * z)) & 1)
    return (
        brightness * (coats[c, 0] + share * (coats[c, 3] - coats[c, 0])),
        brightness * (coats[c, 1] + share * (coats[c, 4] - coats[c, 1])),
        brightness * (coats[c, 2] + share * (coats[c, 5] - coats[c, 2])),
    )


@_device
def _nearest(shapes, k, candidates, n, ox, oy, oz, dx, dy, dz):  # type: ignore[no-untyped-def]
    """The nearest hit among `n` candidates of instant k: which (-1: none), distance, and normal in its frame.

    Of surfaces at the same depth (the ball that two limbs share) the first is taken, whatever the last bits say.
    """
    best, found, nx, ny, nz = FAR, -1, 0.0, 0.0, 1.0
    for c in range(n):
        t, ax, ay, az = _hit(shapes, k, candidates[c], ox, oy, oz, dx, dy, dz)
        if t < best - _TIE:
            best, found, nx, ny, nz = t, candidates[c], ax, ay, az
    return found, best, nx, ny, nz


@_device
def _look(  # type: ignore[no-untyped-def]
    still, moving, k, balls, all_still, near, n_near, all_moving, coats, print_, sx, sy, sz, ox, oy, oz, dx, dy, dz, out
):
    """Add to `out` (6,) what one ray brings: the surroundings' light (r, g, b) and the lamp's, which stands at s."""
    strength = 1.0
    candidates, n = near, n_near
    for _ in range(2):
        i, t, nx, ny, nz = _nearest(still, 0, all_still, still.shape[1], ox, oy, oz, dx, dy, dz)
        j, s, ax, ay, az = _nearest(moving, k, candidates, n, ox, oy, oz, dx, dy, dz)
        if j < 0 and i < 0:
            for c in range(3):
                out[c] += strength * _SKY
            return
        own = j >= 0 and s < t - _TIE
        shapes, instant = still, 0
        if own:
            shapes, instant, i, t, nx, ny, nz = moving, k, j, s, ax, ay, az
        px, py, pz = ox + t * dx, oy + t * dy, oz + t * dz
        wx = shapes[instant, i, 2] * nx + shapes[instant, i, 3] * ny + shapes[instant, i, 4] * nz
        wy = shapes[instant, i, 5] * nx + shapes[instant, i, 6] * ny + shapes[instant, i, 7] * nz
        wz = shapes[instant, i, 8] * nx + shapes[instant, i, 9] * ny + shapes[instant, i, 10] * nz
        c = int(shapes[instant, i, 1])
        if int(coats[c, 6]) == MIRROR and nz < -0.5:
            turn = 2.0 * (dx * wx + dy * wy + dz * wz)
            dx, dy, dz = dx - turn * wx, dy - turn * wy, dz - turn * wz
            ox, oy, oz = px + _LIFT * dx, py + _LIFT * dy, pz + _LIFT * dz
            strength *= _SHINE
            candidates, n = all_moving, moving.shape[1]
            continue
        x, y, z = _place(shapes, instant, i, px, py, pz)
        a, b = shapes[instant, i, 14], shapes[instant, i, 15]
        paint = _paint(coats, c, print_, a, b, x, y, z, nz)
        sky = 0.55 + 0.45 * wz
        if not own:
            sky *= _open(balls, px, py, pz, wx, wy, wz)
        fx, fy, fz = px + _LIFT * wx, py + _LIFT * wy, pz + _LIFT * wz
        facing = wx * sx + wy * sy + wz * sz
        lit, gloss = 0.0, 0.0
        if facing > 0.0 and not (
            _blocked(moving, k, fx, fy, fz, sx, sy, sz) or _blocked(still, 0, fx, fy, fz, sx, sy, sz)
        ):
            lit = facing
            if coats[c, 11] > 0.0:
                hx, hy, hz = sx - dx, sy - dy, sz - dz
                shine = (hx * wx + hy * wy + hz * wz) / math.sqrt(hx * hx + hy * hy + hz * hz)
                gloss = coats[c, 11] * max(0.0, shine) ** 24
        for color in range(3):
            out[color] += strength * paint[color] * sky
            out[3 + color] += strength * (paint[color] * lit + gloss)
        return


@_device
def _open(balls, px, py, pz, wx, wy, wz):  # type: ignore[no-untyped-def]
    """Share of the surroundings' light that balls (n, 4) leave to a surface at p with the normal w."""
    share = 1.0
    for k in range(len(balls)):
        bx, by, bz = balls[k, 0] - px, balls[k, 1] - py, balls[k, 2] - pz
        r2, d2 = balls[k, 3] * balls[k, 3], bx * bx + by * by + bz * bz
        if d2 < _REACH * _REACH * r2:
            facing = max(0.0, wx * bx + wy * by + wz * bz) / math.sqrt(d2)
            share *= 1.0 - 0.85 * facing * min(1.0, r2 / d2) * (1.0 - d2 / (_REACH * _REACH * r2))
    return share


@_device
def _passes(spheres, i, ox, oy, oz, dx, dy, dz, spread):  # type: ignore[no-untyped-def]
    """Whether a ray that widens by `spread` per unit of length passes through sphere i (x, y, z, radius)."""
    cx, cy, cz = spheres[i, 0] - ox, spheres[i, 1] - oy, spheres[i, 2] - oz
    along = cx * dx + cy * dy + cz * dz
    r = spheres[i, 3] + spread * max(0.0, along)
    return along > -r and cx * cx + cy * cy + cz * cz - along * along < r * r


@_device
def _meets(hulls, i, ox, oy, oz, dx, dy, dz):  # type: ignore[no-untyped-def]
    """Whether the line along a ray meets hull i; the ray may start inside."""
    return _hit(hulls, 0, i, ox - _BACK * dx, oy - _BACK * dy, oz - _BACK * dz, dx, dy, dz)[0] < FAR


@_device
def _shaded(shadows, groups, px, py, pz, sx, sy, sz):  # type: ignore[no-untyped-def]
    """Whether moving shapes may take the lamp's light from a point; the lamp stands at s."""
    if _passes(groups, 0, px, py, pz, sx, sy, sz, _PENUMBRA):
        for i in range(shadows.shape[1]):
            if _meets(shadows, i, px, py, pz, sx, sy, sz):
                return True
    return False


def _cast(  # type: ignore[no-untyped-def]
    origins, directions, points, normals, still, moving, hulls, shadows, groups, balls, coats, print_, lights, spread,
    out,
):  # fmt: skip
    """Trace the pixels that moving shapes may touch, by sight, in the mirror or with their shadow.

    origins, directions: (height * samples, width * samples, 3) rays of the sub-pixels; points, normals:
    (height, width, 3) where the middle of each pixel meets what stands still, and the normals there; still:
    (1, part, SHAPE); moving: (time, part, SHAPE), sub-pixel k of a pixel sees the instant k modulo time; hulls,
    shadows: (1, part, SHAPE) hold each part at all instants, widened by a pixel and by the lamp's half-shadow; groups:
    (1 or 2, 4) spheres that hold all parts, and all of their mirror images; balls: (n, 4) shade the floor; lights:
    (samples², 3) directions to the lamp; out: (height, width, 6) light, changed where a pixel was traced. A negative
    `spread` (the width of a pixel per unit of distance) traces every pixel.
    """
    height, width = out.shape[:2]
    samples = len(origins) // height
    everything = spread < 0.0
    near = np.empty(moving.shape[1], np.int64)
    all_still, all_moving = np.arange(still.shape[1]), np.arange(moving.shape[1])
    total = np.empty(6)
    half, middle = samples // 2, len(lights) // 2
    sx, sy, sz = lights[middle, 0], lights[middle, 1], lights[middle, 2]
    for v in range(height):
        for u in range(width):
            y, x = v * samples + half, u * samples + half
            ox, oy, oz = origins[y, x, 0], origins[y, x, 1], origins[y, x, 2]
            dx, dy, dz = directions[y, x, 0], directions[y, x, 1], directions[y, x, 2]
            n_near, wanted = 0, everything
            if everything or _passes(groups, 0, ox, oy, oz, dx, dy, dz, spread):
                for i in range(moving.shape[1]):
                    if everything or _meets(hulls, i, ox, oy, oz, dx, dy, dz):
                        near[n_near] = i
                        n_near += 1
            px, py, pz = points[v, u, 0], points[v, u, 1], points[v, u, 2]
            if not (
                wanted
                or n_near > 0
                or (len(groups) > 1 and _passes(groups, 1, ox, oy, oz, dx, dy, dz, spread))
                or _shaded(shadows, groups, px, py, pz, sx, sy, sz)
            ):
                share = _open(balls, px, py, pz, normals[v, u, 0], normals[v, u, 1], normals[v, u, 2])
                if share < 1.0:
                    for c in range(3):
                        out[v, u, c] *= share
                continue
            total[:] = 0.0
            for k in range(samples * samples):
                y, x = v * samples + k // samples, u * samples + k % samples
                _look(
                    still, moving, k % len(moving), balls, all_still, near, n_near, all_moving, coats, print_,
                    lights[k, 0], lights[k, 1], lights[k, 2], origins[y, x, 0], origins[y, x, 1], origins[y, x, 2],
                    directions[y, x, 0], directions[y, x, 1], directions[y, x, 2], total,
                )  # fmt: skip
            for c in range(6):
                out[v, u, c] = total[c] / (samples * samples)


def _strike(origins, directions, shapes, distances, normals):  # type: ignore[no-untyped-def]
    """Distances (n,) along rays (n, 3) to the nearest shape (1e9: none) and its unit normals (n, 3) there.

    shapes: (time, part, SHAPE); the rays are in order of time, as many for each.
    """
    every = np.arange(shapes.shape[1])
    for r in range(len(origins)):
        k = r * len(shapes) // len(origins)
        i, distances[r], nx, ny, nz = _nearest(
            shapes, k, every, len(every), origins[r, 0], origins[r, 1], origins[r, 2], directions[r, 0],
            directions[r, 1], directions[r, 2],
        )  # fmt: skip
        if i >= 0:
            for c in range(3):
                at = 2 + 3 * c
                normals[r, c] = shapes[k, i, at] * nx + shapes[k, i, at + 1] * ny + shapes[k, i, at + 2] * nz


cast = Kernel(_cast)
strike = Kernel(_strike)
