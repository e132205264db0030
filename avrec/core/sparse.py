"""`SparseRows`: a sparse matrix of side information as plain CSR arrays."""

from dataclasses import dataclass

import numpy as np

from avrec.core.arrays import Float32, Int64
from avrec.core.interactions import event_order, run_starts


@dataclass(frozen=True)
class SparseRows:
    """A sparse (R, C) matrix in compressed sparse row order; the columns of a row ascend and none stands twice.

    `scipy.sparse.csr_array((weight, column, indptr), shape=(num_rows, num_columns))` is the same matrix.

    Attributes:
        num_rows: R.
        num_columns: C.
        indptr: (R + 1,) the entries of row r are `indptr[r]:indptr[r + 1]`.
        column: (E,) column of each entry.
        weight: (E,) value of each entry.
    """

    num_rows: int
    num_columns: int
    indptr: Int64
    column: Int64
    weight: Float32

    @classmethod
    def from_entries(
        cls, row: Int64, column: Int64, num_rows: int, num_columns: int, weight: Float32 | None = None
    ) -> "SparseRows":
        """Pack entries that stand in any order; the weights of an entry that occurs several times are added.

        Args:
            row: (E,) rows from 0 to `num_rows - 1`.
            column: (E,) columns from 0 to `num_columns - 1`.
            num_rows: R.
            num_columns: C.
            weight: (E,) values; ones when None.
        """
        row, column = np.asarray(row, np.int64), np.asarray(column, np.int64)
        weight = np.ones(len(row), np.float32) if weight is None else np.asarray(weight, np.float32)
        order = event_order(row, column)
        row, column, weight = row[order], column[order], weight[order]
        starts = run_starts(row, column)
        total = np.add.reduceat(weight.astype(np.float64), starts) if len(starts) else np.zeros(0)
        indptr = np.zeros(num_rows + 1, np.int64)
        np.cumsum(np.bincount(row[starts], minlength=num_rows), out=indptr[1:])
        return cls(num_rows, num_columns, indptr, column[starts], total.astype(np.float32))

    def __len__(self) -> int:
        return len(self.column)

    @property
    def row(self) -> Int64:
        """(E,) row of each entry."""
        return np.repeat(np.arange(self.num_rows, dtype=np.int64), self.row_counts)

    @property
    def row_counts(self) -> Int64:
        """(R,) entries of each row."""
        return np.diff(self.indptr)

    @property
    def column_counts(self) -> Int64:
        """(C,) entries of each column."""
        return np.bincount(self.column, minlength=self.num_columns).astype(np.int64)

    def transposed(self) -> "SparseRows":
        """The (C, R) matrix."""
        return SparseRows.from_entries(self.column, self.row, self.num_columns, self.num_rows, self.weight)

    def taken(self, rows: Int64) -> "SparseRows":
        """The (B, C) matrix of some rows, which may repeat, without a loop."""
        counts = self.row_counts[rows]
        indptr = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(counts, out=indptr[1:])
        position = np.arange(indptr[-1]) - np.repeat(indptr[:-1] - self.indptr[rows], counts)
        return SparseRows(len(rows), self.num_columns, indptr, self.column[position], self.weight[position])

    def dense(self) -> Float32:
        """(R, C) as a plain array; for small matrices and blocks of rows."""
        matrix = np.zeros((self.num_rows, self.num_columns), np.float32)
        matrix[self.row, self.column] = self.weight
        return matrix
