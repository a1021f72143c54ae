/* Gives the five BLAS and LAPACK routines of MLX's CPU backend their plain names, and forwards each to the
 * function that bind_blas was given. The package scipy-openblas32 exports the same routines under a prefix, so
 * this is all that stands between MLX and OpenBLAS. The caller binds addresses instead of linking, so that
 * OpenBLAS itself stays out of the global symbol scope, where scipy would find it instead of its own copy.
 * Prototypes: cblas.h and lapack.h of OpenBLAS with 32-bit integers. */

typedef void sgemm_t(int, int, int, int, int, int, float, const float *, int, const float *, int, float,
                     float *, int);
typedef void dgemm_t(int, int, int, int, int, int, double, const double *, int, const double *, int, double,
                     double *, int);
typedef void cgemm_t(int, int, int, int, int, int, const void *, const void *, int, const void *, int,
                     const void *, void *, int);
typedef void sgetrf_t(int *, int *, float *, int *, int *, int *);
typedef void dgetrf_t(int *, int *, double *, int *, int *, int *);

static sgemm_t *sgemm;
static dgemm_t *dgemm;
static cgemm_t *cgemm;
static sgetrf_t *sgetrf;
static dgetrf_t *dgetrf;

void bind_blas(sgemm_t *s, dgemm_t *d, cgemm_t *c, sgetrf_t *sf, dgetrf_t *df) {
  sgemm = s;
  dgemm = d;
  cgemm = c;
  sgetrf = sf;
  dgetrf = df;
}

void cblas_sgemm(int order, int ta, int tb, int m, int n, int k, float alpha, const float *a, int lda,
                 const float *b, int ldb, float beta, float *c, int ldc) {
  sgemm(order, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

void cblas_dgemm(int order, int ta, int tb, int m, int n, int k, double alpha, const double *a, int lda,
                 const double *b, int ldb, double beta, double *c, int ldc) {
  dgemm(order, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

void cblas_cgemm(int order, int ta, int tb, int m, int n, int k, const void *alpha, const void *a, int lda,
                 const void *b, int ldb, const void *beta, void *c, int ldc) {
  cgemm(order, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

void sgetrf_(int *m, int *n, float *a, int *lda, int *ipiv, int *info) { sgetrf(m, n, a, lda, ipiv, info); }

void dgetrf_(int *m, int *n, double *a, int *lda, int *ipiv, int *info) { dgetrf(m, n, a, lda, ipiv, info); }
