# Values of tests/test_point_patterns.py in a region with a notch and a hole: Rscript region_with_hole.R (R 4.2.2, spatstat.explore 3.0-6).
suppressPackageStartupMessages({library(spatstat.geom); library(spatstat.explore)})
vdc <- function(k, b) sapply(k, function(x) {v <- 0; d <- 1; while (x > 0) {d <- d * b; v <- v + (x %% b) / d; x <- x %/% b}; v})
i <- 1:200; x <- vdc(i, 2) * 100; y <- vdc(i, 3) * 100
m <- ifelse((x + 2 * y) / 300 + 0.25 * sin(i) > 0.55, "T", ifelse(i %% 3 == 0, "M", "O"))
outline <- list(x = c(0, 100, 100, 60, 60, 0), y = c(0, 0, 70, 70, 100, 100))   # anticlockwise: without its corner [60, 100] x [70, 100]
hole <- list(x = c(20, 20, 40, 40), y = c(30, 60, 60, 30))                      # clockwise: [20, 40] x [30, 60]
W <- owin(poly = list(outline, hole)); cat("area", area(W), "\n")
inside <- inside.owin(x, y, W)
X <- ppp(x[inside], y[inside], W, marks = factor(m[inside])); print(table(marks(X)))
r <- (0:400) / 20; at <- c(101, 201, 301)
show <- function(name, v) cat(name, sprintf("%.10g", v[at]), "\n")
show("none", Kcross(X, "M", "T", r = r, correction = "none")$un)
show("border", Kcross(X, "M", "T", r = r, correction = "border")$border)
A <- split(X)$M; B <- split(X)$T
close <- crosspairs(A, B, max(r)); w <- edge.Trans(A[close$i], B[close$j], paired = TRUE, exact = TRUE)
show("translate, exact set covariance", sapply(r, function(s) area(W) / (npoints(A) * npoints(B)) * sum(w[close$d <= s])))
G <- Gcross(X, "M", "T", r = r); show("G border", G$rs); show("G km", G$km)
cat("border distances of M, head", sprintf("%.10g", head(bdist.points(A), 6)), "\n")
lambdaA <- npoints(A) / area(W) * (0.5 + coords(A)$x / 100)                     # given intensities, so that no estimate of density is compared
lambdaB <- npoints(B) / area(W) * (0.5 + coords(B)$y / 100)
inhom <- function(correction) Kcross.inhom(X, "M", "T", lambdaI = lambdaA, lambdaJ = lambdaB, r = r, correction = correction)
show("inhomogeneous none", inhom("none")$un)
show("inhomogeneous border", inhom("border")$border)
show("inhomogeneous translate, set covariance on a raster", inhom("translate")$trans)
wi <- w / (lambdaA[close$i] * lambdaB[close$j])
show("inhomogeneous translate, exact set covariance", sapply(r, function(s) sum(wi[close$d <= s]) / area(W)))
for (pixels in c(128, 512, 2048)) {                                             # leave-one-out intensities: mass of the kernel on a raster
  at_points <- function(P) head(density(P, sigma = 15, at = "points", leaveoneout = TRUE, dimyx = pixels), 3)
  cat("intensities, head, M and T, raster of", pixels, sprintf("%.10g", c(at_points(A), at_points(B))), "\n")
}
