"""What the kernels are written with: loops, vectors of float32, and the products of a few rows that all of them are made of.

A kernel is LLVM IR, made once at start and compiled for the processor at hand. Vectors have 8 or 16 numbers whatever the
processor's width: LLVM splits them. Every number that comes out is a chain of fused multiply-adds in ascending order of
what is summed, begun at zero or at what was there, so its bits depend on neither the other rows nor the processor.
"""

from collections.abc import Callable, Sequence

from llvmlite import ir

LANES = 16
UNROLLED = 4
LOG2_E = 1.4426950408889634
_SHIFT = 12582912.0 + 127.0
"""Added, it leaves of a small number the nearest whole one, more by an exponent's bias, in the lowest bits."""
_POWERS = (1.53533605e-4, 1.33988750e-3, 9.61843692e-3, 5.55033237e-2, 0.240226477, 0.693147182, 1.0)
"""2 to the r for |r| up to a half, the highest power first."""

INT64, INT32, FLOAT, POINTER = ir.IntType(64), ir.IntType(32), ir.FloatType(), ir.PointerType()
VECTOR = ir.VectorType(FLOAT, LANES)
INT_VECTOR = ir.VectorType(INT32, LANES)


def int64(value: int) -> ir.Constant:
    """A constant of type int64."""
    return ir.Constant(INT64, value)


def vector(value: float, lanes: int = LANES) -> ir.Constant:
    """A vector constant with the same float32 in every lane."""
    return ir.Constant(ir.VectorType(FLOAT, lanes), [value] * lanes)


class Builder(ir.IRBuilder):  # type: ignore[misc]
    """llvmlite's builder with a kernel's vocabulary. Indices and sizes are int64; pointers count in numbers of ``kind``."""

    @classmethod
    def of(cls, module: ir.Module, name: str, kinds: Sequence[ir.Type], internal: bool = True) -> "Builder":
        """Begin a function that returns nothing."""
        function = ir.Function(module, ir.FunctionType(ir.VoidType(), list(kinds)), name)
        function.linkage = "internal" if internal else ""
        return cls(function.append_basic_block())

    def offset(self, pointer: ir.Value, index: ir.Value, kind: ir.Type = FLOAT) -> ir.Value:
        """A pointer to the number at ``index``."""
        return self.gep(pointer, [index], source_etype=kind)

    def load(self, pointer: ir.Value, index: ir.Value, kind: ir.Type = FLOAT) -> ir.Value:
        """The number at ``index``."""
        return super().load(self.offset(pointer, index, kind), typ=kind, align=_alignment(kind))

    def store(self, value: ir.Value, pointer: ir.Value, index: ir.Value) -> None:
        """A number, or a vector of numbers, written from ``index`` on."""
        kind = value.type.element if isinstance(value.type, ir.VectorType) else value.type
        super().store(value, self.offset(pointer, index, kind), align=_alignment(kind))

    def load_vector(self, pointer: ir.Value, index: ir.Value, kind: ir.VectorType = VECTOR) -> ir.Value:
        """A vector of numbers that stand one after the other."""
        return super().load(self.offset(pointer, index, kind.element), typ=kind, align=_alignment(kind.element))

    def splat(self, value: ir.Value, lanes: int = LANES) -> ir.Value:
        """A vector with ``value`` in every lane."""
        kind = ir.VectorType(value.type, lanes)
        first = self.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(INT32, 0))
        return self.shuffle(first, first, [0] * lanes)

    def shuffle(self, one: ir.Value, other: ir.Value, lanes: list[int]) -> ir.Value:
        """A vector of the chosen lanes; those of ``other`` are counted on from those of ``one``."""
        return self.shuffle_vector(one, other, ir.Constant(ir.VectorType(INT32, len(lanes)), lanes))

    def maximum(self, one: ir.Value, other: ir.Value) -> ir.Value:
        """The larger; not a number if ``one`` is none."""
        return self.select(self.fcmp_unordered(">=", one, other), one, other)

    def minimum_int(self, one: ir.Value, other: ir.Value) -> ir.Value:
        """The smaller of two whole numbers, or of each lane."""
        return self.select(self.icmp_signed("<", one, other), one, other)

    def maximum_int(self, one: ir.Value, other: ir.Value) -> ir.Value:
        """The larger of two whole numbers, or of each lane."""
        return self.select(self.icmp_signed(">", one, other), one, other)

    def fma(self, one: ir.Value, other: ir.Value, plus: ir.Value) -> ir.Value:
        """``one * other + plus`` of float32 vectors, rounded once."""
        width = one.type.count
        return self.call(self.intrinsic(f"llvm.fma.v{width}f32", one.type, [one.type] * 3), [one, other, plus])

    def intrinsic(self, name: str, result: ir.Type, arguments: list[ir.Type]) -> ir.Function:
        """A function that LLVM knows by name, declared once a module."""
        known = self.module.globals.get(name)
        return known or ir.Function(self.module, ir.FunctionType(result, arguments), name)

    def reduce(self, values: ir.Value, combine: Callable[[ir.Value, ir.Value], ir.Value]) -> ir.Value:
        """One number from the lanes of a vector, in a fixed order."""
        lanes = values.type.count
        while lanes > 1:
            lanes //= 2
            lower, upper = (self.shuffle(values, values, list(range(at, at + lanes))) for at in (0, lanes))
            values = combine(lower, upper)
        return self.extract_element(values, ir.Constant(INT32, 0))

    def loop(
        self,
        begin: ir.Value,
        end: ir.Value,
        step: int,
        body: Callable[[ir.Value, list[ir.Value]], Sequence[ir.Value] | None],
        carried: Sequence[ir.Value] = (),
    ) -> list[ir.Value]:
        """``for i in range(begin, end, step): carried = body(i, carried)``; returns what is carried out of it."""
        before = self.block
        head, inside, after = (self.append_basic_block() for _ in range(3))
        self.branch(head)
        self.position_at_end(head)
        index = self.phi(INT64)
        index.add_incoming(begin, before)
        values = [self.phi(value.type) for value in carried]
        for phi, value in zip(values, carried, strict=True):
            phi.add_incoming(value, before)
        self.cbranch(self.icmp_signed("<", index, end), inside, after)
        self.position_at_end(inside)
        results = body(index, values)
        index.add_incoming(self.add(index, int64(step)), self.block)
        for phi, value in zip(values, (results or ()) if carried else (), strict=True):
            phi.add_incoming(value, self.block)
        self.branch(head)
        self.position_at_end(after)
        return values

    def vectors(self, width: ir.Value, body: Callable[[ir.Value], None]) -> None:
        """For the beginning of each 16 of ``width``, which is a multiple of 16."""
        self.loop(int64(0), width, LANES, lambda at, _: body(at))

    def parallel_for(self, counter: ir.Value, items: ir.Value, body: Callable[[ir.Value], object]) -> None:
        """Take the next item from a counter that all threads share, until there are none. In front of that counter is
        another, of items that are done."""
        before = self.block
        take, inside, after = (self.append_basic_block() for _ in range(3))
        self.branch(take)
        self.position_at_end(take)
        own = self.phi(INT64)
        own.add_incoming(int64(0), before)
        item = self.atomic_rmw("add", counter, int64(1), "monotonic")
        self.cbranch(self.icmp_signed("<", item, items), inside, after)
        self.position_at_end(inside)
        body(item)
        own.add_incoming(self.add(own, int64(1)), self.block)
        self.branch(take)
        self.position_at_end(after)
        self.atomic_rmw("add", self.offset(counter, int64(-1), INT64), own, "release")

    def combine(
        self,
        operate: Callable[[ir.Value, ir.Value], ir.Value],
        source: ir.Value,
        other: ir.Value,
        target: ir.Value,
        size: ir.Value,
    ) -> None:
        """``target[k] = operate(source[k], other)`` for ``size`` float32 numbers: by vectors, what is left one by one."""
        whole, others = self.and_(size, int64(-LANES)), self.splat(other)
        self.loop(int64(0), whole, LANES, lambda k, _: self.store(operate(self.load_vector(source, k), others), target, k))
        self.loop(whole, size, 1, lambda k, _: self.store(operate(self.load(source, k), other), target, k))

    def multiply_accumulate(
        self,
        lefts: list[ir.Value],
        rights: list[ir.Value],
        stride: ir.Value,
        depth: ir.Value,
        sums: list[ir.Value],
        unrolled: int = UNROLLED,
        read: Callable[[ir.Value, ir.Value], ir.Value] | None = None,
    ) -> list[ir.Value]:
        """Add products to sums, a vector for each left and each right in turn.

        A left is a pointer to ``depth`` numbers side by side, a right one to as many vectors, ``stride`` numbers apart; they
        are float32, or what ``read`` makes float32 of.
        """

        def step(k: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
            return self.multiply_step(k, lefts, rights, stride, sums, read)

        def steps(k: ir.Value, sums: list[ir.Value]) -> list[ir.Value]:
            for index in range(unrolled):
                sums = step(self.add(k, int64(index)), sums)
            return sums

        whole = self.and_(depth, int64(-unrolled))
        sums = self.loop(int64(0), whole, unrolled, steps, sums)
        known = isinstance(depth, ir.Constant) and depth.constant % unrolled == 0
        return sums if known or unrolled == 1 else self.loop(whole, depth, 1, step, sums)

    def multiply_step(
        self,
        k: ir.Value,
        lefts: list[ir.Value],
        rights: list[ir.Value],
        stride: ir.Value,
        sums: list[ir.Value],
        read: Callable[[ir.Value, ir.Value], ir.Value] | None = None,
    ) -> list[ir.Value]:
        """The products of the number ``k`` of each left, added to the sums; see ``multiply_accumulate``."""
        kind, at = sums[0].type, self.mul(k, stride)
        numbers = [self.load_vector(right, at, kind) if read is None else read(right, at) for right in rights]
        factors = [self.splat(self.load(left, k), kind.count) for left in lefts]
        products = [(factor, vector) for factor in factors for vector in numbers]
        return [self.fma(*product, total) for product, total in zip(products, sums, strict=True)]

    def spin_wait(self, counter: ir.Value, least: ir.Value, yielded: ir.Value, looks: int) -> None:
        """Until a counter has come to ``least``; after some looks at it others may have the processor."""
        before = self.block
        look, again, give, after = (self.append_basic_block() for _ in range(4))
        self.branch(look)
        self.position_at_end(look)
        looked = self.phi(INT64)
        looked.add_incoming(int64(0), before)
        seen = self.load_atomic(counter, "acquire", 8, typ=INT64)
        self.cbranch(self.icmp_signed("<", seen, least), again, after)
        self.position_at_end(again)
        more = self.add(looked, int64(1))
        looked.add_incoming(more, again)
        self.cbranch(self.icmp_signed("<", more, int64(looks)), look, give)
        self.position_at_end(give)
        self.call(yielded, [])
        looked.add_incoming(more, give)
        self.branch(look)
        self.position_at_end(after)

    def exp2(self, x: ir.Value) -> ir.Value:
        """2 to the x for a vector of numbers up to 0, to 1e-7 of the result; 0 below -126, exactly 1 at 0.

        x = n + r with |r| at most a half: a polynomial in r (our own fit, for the least relative error), times 2 to the n:
        its exponent is in the lowest bits of a sum.
        """
        shifted = self.fadd(x, vector(_SHIFT))
        rest = self.fsub(x, self.fsub(shifted, vector(_SHIFT)))
        result = vector(_POWERS[0])
        for factor in _POWERS[1:]:
            result = self.fma(result, rest, vector(factor))
        power = self.bitcast(self.shl(self.bitcast(shifted, INT_VECTOR), _ints(23)), VECTOR)
        return self.select(self.fcmp_ordered("<", x, vector(-126.0)), vector(0.0), self.fmul(result, power))

    def exp2_scalar(self, x: ir.Value) -> ir.Value:
        """The same for one number."""
        return self.extract_element(self.exp2(self.splat(x)), ir.Constant(INT32, 0))

    def exp(self, x: ir.Value) -> ir.Value:
        """e to the x for a vector of numbers up to 0, to 1e-7 of the result and of x times the result."""
        return self.exp2(self.fmul(x, vector(LOG2_E)))


def _ints(value: int) -> ir.Constant:
    return ir.Constant(INT_VECTOR, [value] * LANES)


def _alignment(kind: ir.Type) -> int:
    return 4 if kind is FLOAT else kind.width // 8


def define_rows(module: ir.Module, name: str, blocks: dict[int, ir.Function]) -> ir.Function:
    """A product of any number of rows, from products of some, the largest first. Numbers of A and C have 32 bits."""
    b = Builder.of(module, name, [INT64, POINTER, INT64, POINTER, INT64, POINTER, INT64, INT64])
    rows, a, a_stride, right, right_stride, c, c_stride, depth = b.function.args
    done = int64(0)
    for count, block in blocks.items():

        def some(row: ir.Value, _: object, block: ir.Function = block) -> None:
            left, out = b.offset(a, b.mul(row, a_stride)), b.offset(c, b.mul(row, c_stride))
            b.call(block, [left, a_stride, right, right_stride, out, c_stride, depth])

        end = b.sub(rows, b.srem(b.sub(rows, done), int64(count)))
        b.loop(done, end, count, some)
        done = end
    b.ret_void()
    return b.function


def begin_block(module: ir.Module, name: str) -> tuple[Builder, tuple[ir.Value, ...]]:
    """A product of a fixed number of rows, and its arguments: A, B and C, each a pointer and its row's stride, and depth."""
    b = Builder.of(module, name, [POINTER, INT64, POINTER, INT64, POINTER, INT64, INT64])
    return b, tuple(b.function.args)


def rows_of(b: Builder, pointer: ir.Value, stride: ir.Value, rows: int) -> list[ir.Value]:
    """Pointers to the first rows."""
    return [b.offset(pointer, b.mul(stride, int64(row))) for row in range(rows)]
